"""compare_towers and compare_masks: from adapters and gradients on disk to their tables."""

import math

import pytest
import torch

from sap.errors import SapError
from sap.export import write_adapter
from sap.factors import Factors
from sap.io import digest_file, read_csv, read_json, save_tensors
from sap.update import Update, load_adapter
from tests.scripts import SCRIPTS, run_script

VISUAL, TEXT = (f"{tower}transformer.resblocks.0.mlp.c_fc.weight" for tower in ("visual.", ""))
SHAPES = {VISUAL: (24, 16), TEXT: (20, 12)}


def random_update(seed, layers=SHAPES):
    rng = torch.Generator().manual_seed(seed)
    shapes = {layer: SHAPES[layer] for layer in layers}
    return Update(
        {
            layer: Factors(torch.randn(2, n, generator=rng), torch.randn(m, 2, generator=rng))
            for layer, (m, n) in shapes.items()
        }
    )


@pytest.fixture
def write(tmp_path):
    def written(name, update):
        write_adapter(tmp_path / name, update)
        return str(tmp_path / name)

    return written


def test_towers_tell_shared_text_updates_from_conflicting_visual_ones(tmp_path, write):
    one, other = random_update(0), random_update(1)
    turned = Update({VISUAL: other[VISUAL], TEXT: one.scaled(2.0)[TEXT]})
    clients = {"art": write("art", one), "photo": write("photo", turned), "sketch": write("sketch", other)}
    out = run_script("compare_towers", {"seed": 3, "clients": clients}, tmp_path / "compare_towers")
    rows = read_csv(out / "towers.csv")
    assert len(rows) == 2 * 3
    assert {(row["layer"], row["tower"], row["seed"]) for row in rows} == {(VISUAL, "visual", "3"), (TEXT, "text", "3")}
    shared = next(row for row in rows if (row["tower"], row["client_b"]) == ("text", "photo"))
    assert float(shared["cosine"]) == pytest.approx(1)
    assert float(shared["angle"]) == pytest.approx(0, abs=0.1)
    assert float(shared["norm_b"]) == pytest.approx(2 * float(shared["norm_a"]), rel=1e-5)
    assert float(shared["norm_a"]) == pytest.approx(one.norms()[TEXT], rel=1e-5)
    free = next(row for row in rows if (row["tower"], row["client_b"]) == ("visual", "photo"))
    assert float(free["angle"]) > 40
    assert {row["chance_angle"] for row in rows if row["tower"] == "text"} == {shared["chance_angle"]}
    assert 60 < float(free["chance_angle"]) < 90
    meta = read_json(out / "meta.json")
    assert meta["inputs"]["adapter art"] == digest_file(tmp_path / "art/adapter_model.safetensors")
    assert meta["seed"] == 3


def test_towers_of_clients_that_adapt_one_tower_are_refused(tmp_path, write):
    clients = {name: write(name, random_update(seed, [VISUAL])) for seed, name in enumerate(["art", "photo"])}
    with pytest.raises(SapError, match=r"adapt visual layers only\. Train them with train\.lora\.towers: both"):
        run_script("compare_towers", {"seed": 0, "clients": clients}, tmp_path / "compare_towers")


@pytest.fixture
def compared(tmp_path, write):
    """Two draws: in the second the gradients of 2 anchors are the first's with other signs, those of 4 are new."""
    clients = {"art": write("art", random_update(0))}
    gradients = {}
    for draw in (0, 1):
        rng = torch.Generator().manual_seed(7 + draw)
        tensors = {f"4/{layer}": torch.randn(shape, generator=rng) for layer, shape in SHAPES.items()}
        rng = torch.Generator().manual_seed(99)
        tensors |= {f"2/{layer}": (-1) ** draw * torch.randn(shape, generator=rng) for layer, shape in SHAPES.items()}
        save_tensors(tmp_path / f"draw-{draw}/art/gradients.safetensors", tensors, {"reduction": "absolute_of_mean"})
        gradients[str(draw)] = {"art": str(tmp_path / f"draw-{draw}/art")}
    plan = {"seed": 5, "clients": clients, "gradients": gradients, "sizes": [2, 4], "ratios": [0.5, 0.75]}
    return run_script("compare_masks", plan, tmp_path / "compare_masks")


def test_masks_are_compared_across_draws_sizes_and_with_magnitude(compared, tmp_path):
    rows = read_csv(compared / "masks.csv")
    assert len(rows) == 2 * (4 * 3 // 2 + 4)
    pairs = {(row["draw_a"], row["size_a"], row["draw_b"], row["size_b"]): row for row in rows if row["ratio"] == "0.5"}
    assert len(pairs) == 10
    same = pairs["0", "2", "1", "2"]
    assert float(same["jaccard"]) == 1
    assert float(same["spearman"]) == pytest.approx(1)
    assert float(pairs["0", "4", "1", "4"]["jaccard"]) < 0.7
    assert float(same["chance"]) == pytest.approx(1 / 3)
    blind = [row for pair, row in pairs.items() if pair[2:] == ("magnitude", "0")]
    assert len(blind) == 4
    assert all(1 / 3 < float(row["jaccard"]) < 1 for row in blind)
    meta = read_json(compared / "meta.json")
    assert set(meta["inputs"]) == {"adapter art", "gradients 0 art", "gradients 1 art"}


def test_kept_entries_of_one_threshold_are_counted_by_layer(compared, tmp_path):
    rows = read_csv(compared / "kept.csv")
    assert [row["ratio"] for row in rows] == ["0.5", "0.5", "0.75", "0.75"]
    total = sum(math.prod(shape) for shape in SHAPES.values())
    update = load_adapter(tmp_path / "art")
    rng = torch.Generator().manual_seed(7)
    drawn = {layer: torch.randn(shape, generator=rng) for layer, shape in SHAPES.items()}
    scores = {layer: (update.dense(layer) * drawn[layer]).abs() for layer in update}
    threshold = torch.cat([score.flatten() for score in scores.values()]).sort().values[total // 2]
    for row in rows[:2]:
        assert int(row["entries"]) == math.prod(SHAPES[row["layer"]])
        assert int(row["kept"]) == int((scores[row["layer"]] >= threshold).sum())
    assert sum(int(row["kept"]) for row in rows[2:]) == total - total * 3 // 4


@pytest.mark.parametrize("name", ["compare_towers", "compare_masks"])
def test_help_needs_no_torch(name):
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    assert "torch" not in text[: text.index("def main")]
