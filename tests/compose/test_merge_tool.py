"""The merge tool: adapters that stock peft made go in, and what stock peft or open_clip computes with the result."""

import json
import re
import shlex
from pathlib import Path

import open_clip
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from sap.clip.backbone import load_backbone
from sap.compose import Composer
from sap.errors import SapError
from sap.io import digest_file, read_json
from sap.mergetool import name_clients
from sap.plan.schema import schema
from sap.update import load_adapter, load_update
from tests.compose.merging import SCRIPT, Language, run, train


def mean_of(adapters, **weights):
    total = sum(weights.values()) or len(adapters)
    shares = {name: weights.get(name, 0 if weights else 1) / total for name in adapters}
    return {layer: sum(shares[name] * adapters[name][layer] for name in adapters) for layer in adapters["law"]}


def assert_peft_computes(folder, deltas):
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    want = Language()
    for layer, delta in deltas.items():
        want.get_parameter(layer).data += delta
    torch.testing.assert_close(PeftModel.from_pretrained(Language(), str(folder))(x), want(x), atol=1e-4, rtol=1e-4)
    assert (want(x) - Language()(x)).abs().max() > 0.1


def test_the_mean_of_any_ranks_alphas_and_scalings_is_exact_in_stock_peft(merge, adapters):
    summary, folder = merge("law", "med", "art")
    assert_peft_computes(folder, mean_of(adapters))
    assert 5 <= summary.count("\n") <= 10
    assert "merged update: rank 7 to 9, exact" in summary  # 4 + 2 + 1 in one layer, 4 + 2 + 3 in the others
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"] == "LORA"


def test_a_folder_called_like_a_command_of_the_terminal_is_only_named(merge, adapters, tmp_path):
    (tmp_path / "med").rename(tmp_path / "\x1b[2J\nwrote adapter to x")
    summary, _ = merge("law", "\x1b[2J\nwrote adapter to x")
    assert "merged 2 adapters: \\x1b[2J\\nwrote adapter to x, law" in summary
    assert "\x1b" not in summary
    assert summary.count("\nwrote ") == 1


def test_weights_belong_to_the_adapters_in_the_order_in_which_they_are_named(merge, adapters):
    _, folder = merge("med", "law", "art", "--method", "weighted_mean", "--weights", 1, 2, 5)
    assert_peft_computes(folder, mean_of(adapters, med=1, law=2, art=5))


def test_the_order_of_the_adapters_changes_no_byte(merge, adapters):
    pruned = ("--criterion", "random", "--prune-ratio", 0.5, "--method", "ties", "--rank", 4)
    for out, names in (("one", ("law", "med", "art")), ("two", ("art", "law", "med"))):
        merge(*names, *pruned, out=out)
    one, two = (Path(out, "adapter_model.safetensors").read_bytes() for out in ("one", "two"))
    assert one == two


def test_it_is_the_merge_of_the_workflow(merge, adapters, tmp_path):
    options = ("--set", "density=0.3", "--set", "elect=frequency", "--scale", 0.7)
    pruned = ("--criterion", "magnitude", "--prune-ratio", 0.5, "--rescale", "inverse_density")
    _, folder = merge(*adapters, "--method", "ties", *options, *pruned, "--as", "delta")
    point = {"merge": {"method": "ties", "density": 0.3, "elect": "frequency"}, "scale": 0.7}
    point |= {"criterion": "magnitude", "prune_ratio": 0.5, "rescale": "inverse_density"}
    want = Composer({name: load_adapter(tmp_path / name) for name in adapters}).merge(point)
    found = load_update(folder / "update.safetensors")
    assert list(found) == list(want)
    assert all(torch.equal(found.dense(layer), want.dense(layer)) for layer in want)


def test_a_dense_merge_is_approximated_by_a_rank_and_says_what_that_loses(merge, adapters):
    _, whole = merge(*adapters, "--method", "ties", "--as", "delta", out="whole")
    summary, folder = merge(*adapters, "--method", "ties", "--rank", 6)
    dense, found = load_update(whole / "update.safetensors"), load_adapter(folder)
    lost, energy = {}, {}
    for layer in dense:
        U, S, Vh = torch.linalg.svd(dense.dense(layer))
        torch.testing.assert_close(found.dense(layer), U[:, :6] * S[:6] @ Vh[:6], atol=1e-4, rtol=1e-4)
        energy[layer] = float((S**2).sum())
        lost[layer] = float((S[6:] ** 2).sum()) / energy[layer]
    meta, worst = read_json(folder / "meta.json")["lost_energy"], max(lost, key=lost.get)
    assert (meta["worst_layer"], meta["worst"]) == (worst, pytest.approx(lost[worst], rel=1e-4))
    total = sum(lost[layer] * energy[layer] for layer in lost) / sum(energy.values())
    assert meta["total"] == pytest.approx(total, rel=1e-4)
    assert f"rank 6, loses {total:.2%} of its energy, at most {lost[worst]:.2%} in {worst}" in summary


def test_a_rank_as_large_as_the_layer_loses_nothing(merge, adapters):
    summary, folder = merge(*adapters, "--method", "ties", "--rank", 40)
    _, whole = merge(*adapters, "--method", "ties", "--as", "delta", out="whole")
    dense, found = load_update(whole / "update.safetensors"), load_adapter(folder)
    assert all(torch.equal(found.dense(layer), dense[layer]) for layer in dense)
    assert "exact" in summary


def test_a_stack_that_is_no_smaller_than_the_layer_is_written_whole_and_exact(merge, tmp_path):
    deltas = {name: train(tmp_path / name, seed=seed, r=12) for seed, name in enumerate(("law", "med"))}
    _, folder = merge("law", "med")  # 24 ranks of 80 numbers are more than the 1600 of the layer
    assert_peft_computes(folder, mean_of(deltas))


def test_absent_layers_are_zero_updates_on_demand(merge, adapters, tmp_path):
    deltas = train(tmp_path / "wide", ("q_proj", "v_proj", "o_proj"), seed=7, r=2)
    with pytest.raises(SapError, match=r"'law' does not adapt layer layers\.0\.o_proj\.weight, adapter 'wide' does"):
        merge("wide", "law")
    _, folder = merge("wide", "law", "--missing", "zero")
    zero = torch.zeros(40, 40)
    assert_peft_computes(folder, {name: (deltas[name] + adapters["law"].get(name, zero)) / 2 for name in deltas})


def test_names_are_folders_with_as_many_parents_as_tell_them_apart(tmp_path):
    paths = [tmp_path / "a/final", tmp_path / "b/final", tmp_path / "c/other"]
    assert list(name_clients(paths)) == ["a/final", "b/final", "c/other"]
    assert list(name_clients(paths[1:])) == ["final", "other"]
    with pytest.raises(SapError, match="named twice"):
        name_clients([tmp_path / "a", tmp_path / "b/../a"])


def test_meta_json_says_what_went_in_and_what_came_out(merge, adapters, tmp_path):
    _, folder = merge("law", "art", "--method", "sum", "--set", "scale=1.5", "--seed", 3)
    meta = read_json(folder / "meta.json")
    assert meta["inputs"]["law/adapter_model.safetensors"] == digest_file(tmp_path / "law/adapter_model.safetensors")
    assert set(meta["inputs"]) == {
        f"{name}/adapter_{file}" for name in ("law", "art") for file in ("config.json", "model.safetensors")
    }
    assert meta["settings"]["point"] == {"merge": {"method": "sum", "scale": 1.5}, "scale": 1.0}
    assert (meta["settings"]["seed"], meta["clients"], meta["stage"]) == (3, ["art", "law"], "merge")
    assert set(meta["ranks"].values()) == {5, 7}
    assert meta["norms"] == pytest.approx(load_adapter(folder).norms(), rel=1e-6)


def test_base_model_and_task_go_into_the_merged_adapter_and_must_agree(merge, adapters, tmp_path):
    for name, base in (("law", "org/one"), ("med", "org/two"), ("art", None)):
        path = tmp_path / name / "adapter_config.json"
        path.write_text(
            json.dumps(
                json.loads(path.read_text(encoding="utf-8"))
                | {"base_model_name_or_path": base, "task_type": "CAUSAL_LM"}
            ),
            encoding="utf-8",
        )
    _, folder = merge("law", "art")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["task_type"]) == ("org/one", "CAUSAL_LM")
    with pytest.raises(SapError, match="'law' was trained on 'org/one', adapter 'med' on 'org/two'"):
        merge("med", "law", out="any")
    _, folder = merge("med", "law", "--any-base", out="any")
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"] is None


@pytest.fixture
def pixels():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def test_adapter_delta_and_checkpoint_of_a_vit_are_the_same_model(merge, vits, pixels):
    clients = ("photo", "sketch", "clipart")
    _, adapter = merge(*clients, out="adapter")
    _, delta = merge(*clients, "--as", "delta", out="delta")
    summary, checkpoint = merge(*clients, "--as", "checkpoint", "--base", vits, out="checkpoint")
    fresh = open_clip.create_model(f"local-dir:{vits}").eval()
    before = fresh.encode_image(pixels)
    updated = load_backbone(vits).model
    with load_update(delta / "update.safetensors").applied(updated):
        want = updated.encode_image(pixels)
    whole = open_clip.create_model(f"local-dir:{checkpoint}").eval()
    torch.testing.assert_close(whole.encode_image(pixels), want, atol=1e-5, rtol=1e-5)
    theirs = PeftModel.from_pretrained(fresh, str(adapter)).base_model.model
    torch.testing.assert_close(theirs.encode_image(pixels), want, atol=1e-5, rtol=1e-5)
    assert (want - before).abs().max() > 0.1
    assert f'open_clip.create_model("local-dir:{checkpoint.name}")' in summary


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_half_precision_file_gets_the_update_in_float32_and_keeps_its_precision(merge, vits, tmp_path, suffix):
    base = {name: t.half() for name, t in load_file(vits / "open_clip_model.safetensors").items()}
    (torch.save if suffix == ".pt" else save_file)(base, str(tmp_path / f"half{suffix}"))
    _, folder = merge("photo", "sketch", "--as", "checkpoint", "--base", f"half{suffix}")
    _, delta = merge("photo", "sketch", "--as", "delta", out="delta")
    found, update = load_file(folder / "half.safetensors"), load_update(delta / "update.safetensors")
    for name, weight in base.items():
        want = (weight.float() + update.dense(name)).half() if name in update else weight
        assert torch.equal(found[name], want)
    model = open_clip.create_model(f"local-dir:{vits}")
    open_clip.load_checkpoint(model, str(folder / "half.safetensors"))
    assert torch.equal(
        model.visual.transformer.resblocks[0].mlp.c_fc.weight.half(),
        found["visual.transformer.resblocks.0.mlp.c_fc.weight"],
    )


def test_layers_that_some_adapters_share_are_counted(merge, adapters, tmp_path):
    """law: layers 0 and 1; wide: o_proj of both, too; half: o_proj of layer 0 alone, which it shares with wide."""
    train(tmp_path / "wide", ("q_proj", "v_proj", "o_proj"), seed=7, r=2)
    train(tmp_path / "half", ("layers.0.o_proj",), seed=8, r=2)
    summary, folder = merge("law", "wide", "half", "--missing", "zero")
    having = read_json(folder / "meta.json")["adapters_of_layer"]
    assert having == {
        f"layers.{block}.{name}.weight": 2 - (block == 1 and name == "o_proj")
        for block in (0, 1)
        for name in ("o_proj", "q_proj", "v_proj")
    }
    assert "layers: 6: 5 in 2 (layers.0.o_proj.weight, …); 1 in 1 (layers.1.o_proj.weight); ranks" in summary
    summary, _ = merge("law", "wide", "--missing", "zero", out="two")
    assert "layers: 6: 4 in all 2; 2 in 1 (layers.0.o_proj.weight, …); ranks" in summary
    summary, folder = merge("law", "med", "--missing", "zero", out="same")
    assert "layers: 4; ranks" in summary


def test_the_command_merges_without_open_clip_transformers_or_peft(adapters, tmp_path):
    code = (
        f"import runpy, sys; sys.argv = ['merge.py', 'law', 'med', '--out', 'out']; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__'); "
        "assert not {'open_clip', 'transformers', 'peft'} & set(sys.modules)"
    )
    found = run(code=code, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("merged 2 adapters: law, med\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "meta.json",
    ]


def test_the_command_ends_with_status_one_and_one_sentence(adapters, tmp_path):
    for words, start in (
        (["law", "med", "--method", "tiez"], "error: --method: unknown merge method 'tiez'. Did you mean 'ties'?"),
        (["law", "gone"], f"error: {tmp_path.resolve()}/gone is not a folder."),
    ):
        found = run(*words, "--out", "out", cwd=tmp_path)
        assert found.returncode == 1
        assert found.stderr.startswith(start)
        assert found.stderr.count("\n") == 1
        assert found.stdout == ""


def test_the_list_names_every_method_its_options_and_what_cannot_run_here_without_torch():
    code = (
        f"import runpy, sys; sys.argv = ['merge.py', '--list']; "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__'); assert 'torch' not in sys.modules"
    )
    found = run(code=code)
    assert found.returncode == 0, found.stderr
    declared = schema()["$defs"]["merge"]
    lines = found.stdout.splitlines()
    for name, entry in declared.items():
        line = next(line for line in lines if line[2:].split(" ")[0] == name)
        assert line.startswith("-" if set(entry["needs"]) - {"counts", "rng"} else " ")
        assert entry["summary"] in line
        assert entry["family"] in lines
    assert any(line.strip().startswith("density=0.2: share of entries") for line in lines)
    assert any("needs gram" in line for line in lines)


def test_the_commands_of_the_page_are_commands(merge, adapters, vits, tmp_path):
    page = (SCRIPT.parents[2] / "docs/merge-tool.md").read_text(encoding="utf-8")
    commands = re.findall(r"^sap merge (.*) --out merged$", page, re.MULTILINE)
    assert len(commands) == 3
    for place in ("runs/law", "runs/med", "runs/art", "clients/photo", "clients/sketch"):
        folder, name = place.split("/")
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / folder / name)
    (tmp_path / "ViT-B-32").symlink_to(vits)
    for number, command in enumerate(commands):
        summary, folder = merge(*shlex.split(command), out=f"merged-{number}")
        assert "merged update: " in summary
        assert (folder / "meta.json").exists()
