"""score_client, diagnose, prune and audit: from an adapter folder to their files, and one sentence where that fails."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sap.compose import LazyGradients
from sap.errors import SapError
from sap.export import write_adapter
from sap.factors import Factors
from sap.io import (
    digest_file,
    read_csv,
    read_json,
    read_jsonl,
    save_tensors,
    sealed,
    write_jsonl,
    write_text,
)
from sap.provenance import save_meta
from sap.update import Update, load_adapter, load_update
from tests.made_plans import NOTHING
from tests.scripts import SCRIPTS, run_script

BACKBONE = ("backbone/open_clip_config.json", "backbone/open_clip_model.safetensors")
MODULES = {"attn": (96, 32), "attn.base_layer.out_proj": (32, 32), "mlp.c_fc": (128, 32), "mlp.c_proj": (32, 128)}


def score(adapter, backbone, anchors, out, reduction="mean_of_absolute", sizes=(2, 4)):
    plan = {"client": adapter.name, "seed": 0, "alignment": "cosine", "reduction": reduction, "sizes": sizes}
    plan |= {"adapter": str(adapter), "backbone": str(backbone), "anchors": str(anchors)}
    return run_script("score_client", plan, out)


@pytest.fixture
def adapters(tmp_path):
    folders = []
    for seed, name in enumerate(["art", "photo"]):
        rng = torch.Generator().manual_seed(seed)
        tensors = {}
        for block in (0, 1):
            for module, (m, n) in MODULES.items():
                key = f"base_model.model.visual.transformer.resblocks.{block}.{module}"
                tensors[f"{key}.lora_A.weight"] = torch.randn(2, n, generator=rng)
                tensors[f"{key}.lora_B.weight"] = 0.1 * torch.randn(m, 2, generator=rng)
        folder = tmp_path / name
        folder.mkdir()
        save_file(tensors, str(folder / "adapter_model.safetensors"))
        (folder / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}), encoding="utf-8"
        )
        folders.append(folder)
    return folders


@pytest.fixture
def scored(tmp_path, adapters, tiny_clip_folder, monkeypatch):
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 16, 16, 3), generator=rng).to(torch.uint8)
    save_tensors(
        tmp_path / "anchors/anchors.safetensors",
        {"images": images, "tokens": torch.randint(1, 400, (4, 24), generator=rng)},
    )
    for adapter in adapters:
        score(adapter, tiny_clip_folder, tmp_path / "anchors", tmp_path / "saliency" / adapter.name)
    return [tmp_path / "saliency" / adapter.name / "gradients.safetensors" for adapter in adapters]


def test_scores_of_every_size_layer_and_factor_are_written(scored, adapters):
    meta = read_json(scored[0].parent / "meta.json")
    assert set(meta["loss"]) == {"2", "4"}
    assert meta["files"] == {"gradients.safetensors": digest_file(scored[0])}
    update = load_adapter(adapters[0])
    for size in (2, 4):
        found = LazyGradients(scored[0], size)
        assert found.notes == {"alignment": "cosine", "reduction": "mean_of_absolute"}
        assert set(found) == {f"{layer}{part}" for layer in update for part in ("", "/A", "/B")}
        assert all(found[layer].shape == update.shape(layer) for layer in update)


def test_diagnose_writes_one_row_per_pair_and_layer(tmp_path, scored, adapters):
    clients = {folder.name: str(folder) for folder in adapters}
    gradients = {path.parent.name: str(path.parent) for path in scored}
    plan = {"seed": 3, "size": 4, "clients": clients, "gradients": gradients}
    out = run_script("diagnose", plan, tmp_path / "diagnose")
    agreement, saliency = read_csv(out / "agreement.csv"), read_csv(out / "saliency.csv")
    assert len(agreement) == 8
    assert list(agreement[0])[:6] == ["seed", "layer", "client_a", "client_b", "cosine", "sign_conflict"]
    assert len(saliency) == 16
    assert {row["client"] for row in saliency} == {"art", "photo"}
    assert sum(float(row["score_share"]) for row in saliency) == pytest.approx(2)
    assert {row["predicted_change"] for row in saliency} == {""}  # mean |g| has no sign
    assert (out / "meta.json").exists()


def test_prune_writes_the_pruned_update(tmp_path, scored, adapters):
    point = {"criterion": "taylor_absolute", "reduction": "mean_of_absolute", "anchor_size": 4, "prune_ratio": 0.75}
    plan = {"client": "art", "seed": 0, "point": {"id": "p", "settings": point}, "adapter": str(adapters[0])}
    run_script("prune", plan | {"gradients": str(scored[0].parent), "statistics": {}}, tmp_path / "p")
    pruned = load_update(tmp_path / "p/update.safetensors")
    for layer in pruned:
        assert int((pruned.dense(layer) == 0).sum()) == pruned.dense(layer).numel() * 3 // 4
    assert read_json(tmp_path / "p/meta.json")["client"] == "art"


def test_an_adapter_of_another_backbone_is_refused_with_its_path(tmp_path, adapters, tiny_clip_folder, monkeypatch):
    monkeypatch.setenv("SAP_DEVICE", "cpu")
    path = adapters[0] / "adapter_model.safetensors"
    key = "base_model.model.visual.transformer.resblocks.7.mlp.c_fc"
    save_file({f"{key}.lora_A.weight": torch.ones(2, 32), f"{key}.lora_B.weight": torch.ones(128, 2)}, str(path))
    with pytest.raises(
        SapError, match=r"art: layer visual\.transformer\.resblocks\.7\.mlp\.c_fc\.weight does not exist"
    ):
        score(adapters[0], tiny_clip_folder, tmp_path, tmp_path / "out", "absolute_of_mean", (2,))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["score_client", "diagnose", "prune"])
def test_help_needs_no_torch(name):
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    head = text[: text.index("def main")]
    assert "torch" not in head
    assert text.count("\n") <= 60


def test_audit_keeps_what_is_there_and_measures_again_when_its_code_or_a_client_changes(tmp_path, adapters):
    """Kept rows are marked, so that a recomputed one shows."""
    for number, adapter in enumerate(adapters):
        save_meta(adapter, {"stage": "train_client", "sample_count": 10 + number})
    for file in ("data/index.csv", "classes/text_features.safetensors", *BACKBONE):
        write_text(tmp_path / file, "content")
        save_meta((tmp_path / file).parent, {})
    plan = NOTHING | {
        "target": "sketch",
        "backbone": str(tmp_path / "backbone"),
        "classes": str(tmp_path / "classes"),
        "domains": {"sketch": str(tmp_path / "data")},
        "clients": {adapter.name: str(adapter) for adapter in adapters},
    }
    layers = len(MODULES) * 2

    def audit(*methods, code="one"):
        points = [
            {"id": name, "settings": {"kind": "merge", "merge": {"method": name}}, "reads": ["clients"], "code": "c"}
            for name in methods
        ]
        run_script("audit", plan | {"points": points}, tmp_path / "audit", code=code)
        rows = read_jsonl(tmp_path / "audit/audit.jsonl")
        fresh = {row["point"] for row in rows if "marked" not in row}
        write_jsonl(tmp_path / "audit/audit.jsonl", [sealed(row | {"marked": True}) for row in rows])
        assert len(rows) == layers * len(methods)
        return fresh

    assert audit("mean", "ties") == {"mean", "ties"}
    assert audit("mean", "ties") == set()
    assert audit("mean", "ties", "sum") == {"sum"}
    assert audit("mean", code="two") == {"mean"}
    update = load_adapter(adapters[0])
    write_adapter(adapters[0], Update({layer: Factors(*entry) for layer, entry in update.scaled(2).items()}))
    save_meta(adapters[0], {"stage": "train_client", "sample_count": 10})
    assert audit("mean", code="two") == {"mean"}
    path = tmp_path / "audit/audit.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"rank": ', '"rank": 1', 1), encoding="utf-8")
    assert audit("mean", code="two") == {"mean"}
