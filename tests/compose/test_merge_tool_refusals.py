"""What the merge tool refuses, in one sentence, and what it then leaves as it was."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sap.errors import SapError
from sap.io import digest_file, read_json, sealed, write_json
from sap.update import load_update
from tests.compose.merging import train


def narrow(folder):
    tensors = load_file(folder / "adapter_model.safetensors")
    key = "base_model.model.layers.1.v_proj.lora_A.weight"
    save_file(tensors | {key: tensors[key][:, :30].contiguous()}, str(folder / "adapter_model.safetensors"))


def nan(folder):
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors["base_model.model.layers.1.v_proj.lora_A.weight"][0, 0] = torch.nan
    save_file(tensors, str(folder / "adapter_model.safetensors"))


def dora(folder):
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}), encoding="utf-8")


def pickled(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (narrow, r"update of 'med': layer layers\.1\.v_proj\.weight must have shape \(40, 40\), got \(40, 30\)"),
        (nan, r"med.*layers\.1\.v_proj\.weight: all numbers must be finite"),
        (dora, r"med.*use_dora is set to True, only plain LoRA can be merged"),
        (pickled, r"med holds no adapter_model\.safetensors"),
    ],
)
def test_adapters_that_do_not_fit_are_refused_with_the_first_difference(merge, adapters, tmp_path, spoil, words):
    spoil(tmp_path / "med")
    with pytest.raises(SapError, match=words):
        merge("law", "med", "art")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["law", "nowhere"], r"nowhere is not a folder"),
        (["law", "law"], r"law is named twice"),
        ([], r"name the adapters to merge"),
        (["law", "med", "--method", "tiez"], r"unknown merge method 'tiez'. Did you mean 'ties'"),
        (["law", "med", "--method", "ties"], r"the merged update is dense .* Add --rank .* add up to 6"),
        (["law", "med", "--method", "ties", "--set", "density=7"], r"--set \(ties\)\.density must be at most 1, got 7"),
        (["law", "med", "--method", "ties", "--set", "density=NaN"], r"density must be a number, got 'NaN'"),
        (["law", "med", "--method", "ties", "--set", "densty=0.2"], r"unknown key 'densty'. Did you mean 'density'"),
        (["law", "med", "--method", "ties", "--set", "density"], r"--set must be OPTION=VALUE"),
        (["law", "med", "--method", "regmean"], r"--method regmean needs gram, which adapters alone do not have"),
        (["law", "med", "--criterion", "taylor_signed"], r"--criterion taylor_signed needs gradient"),
        (["law", "med", "--criterion", "magnitud"], r"unknown criterion 'magnitud'. Did you mean 'magnitude'"),
        (["law", "med", "--prune-ratio", "0.5"], r"--prune-ratio prunes nothing alone"),
        (["law", "med", "--criterion", "magnitude", "--prune-ratio", "2"], r"--prune-ratio must be at most 1, got 2"),
        (["law", "med", "--criterion", "magnitude", "--rescale", "robustmerge"], "rescale robustmerge lifts rank-1"),
        (["law", "med", "--scale", "nan"], r"--scale must be a number, got 'nan'"),
        (["law", "med", "--rank", "0"], r"--rank must be at least 1, got 0"),
        (["law", "med", "--weights", "1", "2"], r"merge\.mean counts all adapters alike"),
        (["law", "med", "--method", "ties", "--weights", "1", "2"], r"Add --set weights=samples"),
        (["law", "med", "--method", "weighted_mean"], r"merge\.weighted_mean weighs the adapters. Add --weights"),
        (["law", "med", "--method", "weighted_mean", "--weights", "1"], r"--weights must be 2 positive numbers"),
        (["law", "med", "--method", "weighted_mean", "--weights", "1", "nan"], r"must be 2 positive numbers"),
        (["law", "med", "--method", "weighted_mean", "--weights", "1e308", "1e308"], r"below 2\*\*53, got 1e\+308"),
        (["law", "med", "--method", "product_of_means"], r"needs equal ranks"),
        (["law", "med", "--as", "checkpoint"], r"--as checkpoint needs --base"),
        (["law", "med", "--base", "law"], r"--base is read only with --as checkpoint"),
        (["law", "med", "--as", "checkpoint", "--base", "gone.pt"], r"--base: gone\.pt does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(merge, adapters, tmp_path, words, message):
    with pytest.raises(SapError, match=message):
        merge(*words)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_model_is_refused(merge, adapters, vits):
    with pytest.raises(SapError, match=r"layer layers\.0\.q_proj\.weight does not exist in the backbone"):
        merge("law", "med", "--as", "checkpoint", "--base", vits)


def test_an_update_without_a_finite_norm_leaves_an_earlier_merge_as_it_was(merge, adapters, tmp_path):
    merge("law", "med")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for form in ("adapter", "delta"):
        with pytest.raises(SapError, match=r"the merged update is too large: .* Lower --scale"):
            merge("law", "med", "--as", form, "--scale", "1e300", "--force")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_quantised_and_overflowing_weights_are_refused(merge, vits, tmp_path):
    base, layer = load_file(vits / "open_clip_model.safetensors"), "visual.transformer.resblocks.0.mlp.c_fc.weight"
    for weight, words in (
        (torch.zeros(128, 32, dtype=torch.int8), r"holds torch\.int8"),
        (torch.full((128, 32), 65504.0).half(), "holds NaN or Inf"),
    ):
        save_file(base | {layer: weight}, str(tmp_path / "odd.safetensors"))
        with pytest.raises(SapError, match=words):
            merge("photo", "sketch", "--scale", 99, "--as", "checkpoint", "--base", "odd.safetensors")


def test_inputs_are_never_overwritten(merge, adapters, vits, tmp_path):
    before = (tmp_path / "law/adapter_model.safetensors").read_bytes()
    with pytest.raises(SapError, match="holds one of the inputs"):
        merge("law", "med", out="law")
    assert (tmp_path / "law/adapter_model.safetensors").read_bytes() == before
    with pytest.raises(SapError, match="holds one of the inputs"):
        merge("photo", "sketch", "--as", "checkpoint", "--base", vits, out=str(vits))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SapError, match="--out file is a file"):
        merge("law", "med", out="file")
    (tmp_path / "link").symlink_to("nowhere/else")
    with pytest.raises(SapError, match="--out link cannot be made"):
        merge("law", "med", out="link")


def test_what_lies_in_the_folder_is_not_overwritten_unasked(merge, adapters, tmp_path):
    """Somebody's adapter, which is no input; a file under a name that the result needs; an earlier merge."""
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "art").iterdir()}
    for form in ("adapter", "delta"):
        with pytest.raises(SapError, match=r"--out art already holds adapter_config\.json, adapter_model\.safetensors"):
            merge("law", "med", "--as", form, out="art")
    assert {path.name: path.read_bytes() for path in (tmp_path / "art").iterdir()} == theirs
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/meta.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SapError, match=r"--out notes already holds meta\.json\. Name another folder, or add --force"):
        merge("law", "med", out="notes")
    merge("law", "med", out="earlier")
    before = (tmp_path / "earlier/meta.json").read_bytes()
    for form in ("adapter", "delta"):
        with pytest.raises(SapError, match="--out earlier already holds adapter_"):
            merge("law", "art", "--as", form, out="earlier")
    assert (tmp_path / "earlier/meta.json").read_bytes() == before


def test_forced_nothing_of_an_earlier_merge_stays_and_nothing_of_others_goes(merge, adapters, vits, tmp_path):
    def held():
        return sorted(path.name for path in (tmp_path / "out").iterdir())

    clients = ("photo", "sketch")
    merge(*clients)
    (tmp_path / "out/README.md").write_text("mine", encoding="utf-8")
    (tmp_path / "out/adapter_model.bin").write_bytes(b"mine")
    summary, folder = merge(*clients, "--as", "delta", "--force")
    assert held() == ["README.md", "adapter_model.bin", "meta.json", "update.safetensors"]
    assert "deleted adapter_config.json, adapter_model.safetensors of an earlier merge; load it with" in summary
    assert load_update(folder / "update.safetensors").norm() > 0
    merge(*clients, "--as", "checkpoint", "--base", vits, "--force")
    assert held() == [
        "README.md",
        "adapter_model.bin",
        "meta.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    summary, _ = merge(*clients, "clipart", "--force")
    assert held() == ["README.md", "adapter_config.json", "adapter_model.bin", "adapter_model.safetensors", "meta.json"]
    assert set(read_json(folder / "meta.json")["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert (tmp_path / "out/README.md").read_text(encoding="utf-8") == "mine"
    merge(*clients, "--force")
    assert read_json(folder / "meta.json")["clients"] == ["photo", "sketch"]


def test_a_file_that_somebody_changed_since_is_not_deleted_even_when_forced(merge, adapters, tmp_path):
    merge("law", "med", "--as", "delta")
    save_file({"mine": torch.ones(2)}, str(tmp_path / "out/update.safetensors"))
    with pytest.raises(SapError, match=r"update\.safetensors is not what the earlier merge wrote there"):
        merge("law", "med", "--force")
    assert set(load_file(tmp_path / "out/update.safetensors")) == {"mine"}
    merge("law", "med", "--as", "delta", "--force")  # overwriting is what was asked for
    assert "mine" not in load_file(tmp_path / "out/update.safetensors")


def test_a_meta_json_cannot_point_the_deletion_elsewhere(merge, adapters, tmp_path):
    (tmp_path / "precious").write_text("mine", encoding="utf-8")
    files = {"../precious": digest_file(tmp_path / "precious")}
    write_json(tmp_path / "out/meta.json", sealed({"stage": "merge", "files": files}))
    merge("law", "med", "--force")
    assert (tmp_path / "precious").exists()


def test_a_folder_in_the_place_of_a_file_is_refused(merge, adapters, tmp_path):
    (tmp_path / "out/adapter_config.json").mkdir(parents=True)
    with pytest.raises(SapError, match=r"holds a folder adapter_config\.json"):
        merge("law", "med", "--force")


def rename_layers(folder, old, new):
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors = {key.replace(old, new): tensor for key, tensor in tensors.items()}
    save_file(tensors, str(folder / "adapter_model.safetensors"))


def test_adapters_that_share_no_layer_are_refused_whatever_is_missing(merge, adapters, tmp_path):
    rename_layers(tmp_path / "art", "layers.", "encoder.layer.")
    words = (
        r"adapters 'art' and 'law' share no layer: one adapts encoder\.layer\.0\.q_proj\.weight, the other "
        r"layers\.0\.q_proj\.weight"
    )
    for adapters_, missing in ((("law", "art"), "zero"), (("law", "med", "art"), "zero"), (("law", "art"), "refuse")):
        with pytest.raises(SapError, match=words):
            merge(*adapters_, "--missing", missing)
    assert not (tmp_path / "out").exists()


def test_two_models_are_refused_also_where_each_has_two_adapters(merge, adapters, tmp_path):
    train(tmp_path / "bio", seed=9, r=2)
    for name in ("art", "bio"):
        rename_layers(tmp_path / name, "layers.", "encoder.layer.")
    with pytest.raises(SapError, match="adapters 'art' and 'law' share no layer"):
        merge("law", "med", "art", "bio", "--missing", "zero")
