"""Uploads in PEFT's format: read exactly, and anything odd refused with path, layer and next step."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sap.errors import SapError
from sap.update import load_adapter

BLOCK = "base_model.model.visual.transformer.resblocks.0."
PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "use_dora": False, "lora_dropout": 0.0}
PLAIN["peft_version"] = "1.0.0"  # later than the versions that apply out_proj twice


def tensors(rank=2):
    sizes = {"attn": (96, 32), "attn.base_layer.out_proj": (32, 32), "mlp.c_fc": (128, 32), "mlp.c_proj": (32, 128)}
    found = {}
    for module, (m, n) in sizes.items():
        found[f"{BLOCK}{module}.lora_A.weight"] = torch.randn(rank, n)
        found[f"{BLOCK}{module}.lora_B.weight"] = torch.randn(m, rank)
    return found


def write(folder, weights, **config):
    save_file(weights, str(folder / "adapter_model.safetensors"))
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("rslora", "scale"), [(False, 2.0), (True, 4 / 2**0.5)])
def test_every_layer_is_alpha_over_rank_b_a(tmp_path, rslora, scale):
    weights = tensors()
    update = load_adapter(write(tmp_path, weights, use_rslora=rslora))
    names = {"attn": "attn.in_proj_weight", "attn.base_layer.out_proj": "attn.out_proj.weight"}
    names |= {"mlp.c_fc": "mlp.c_fc.weight", "mlp.c_proj": "mlp.c_proj.weight"}
    assert set(update) == {f"visual.transformer.resblocks.0.{name}" for name in names.values()}
    for module, name in names.items():
        want = scale * weights[f"{BLOCK}{module}.lora_B.weight"] @ weights[f"{BLOCK}{module}.lora_A.weight"]
        torch.testing.assert_close(update.dense(f"visual.transformer.resblocks.0.{name}"), want)


@pytest.mark.parametrize(("version", "times"), [(None, 2), ("0.18.0", 2), ("0.21.2", 2), ("0.21.3", 1), ("1.0", 1)])
def test_out_proj_counts_as_often_as_the_peft_that_wrote_it_applies_it(tmp_path, version, times):
    weights = tensors()
    update = load_adapter(write(tmp_path, weights, peft_version=version))
    module = f"{BLOCK}attn.base_layer.out_proj"
    want = times * 2.0 * weights[f"{module}.lora_B.weight"] @ weights[f"{module}.lora_A.weight"]
    torch.testing.assert_close(update.dense("visual.transformer.resblocks.0.attn.out_proj.weight"), want)


def test_patterns_set_rank_and_alpha_of_single_modules(tmp_path):
    weights = {name: tensor for name, tensor in tensors(3).items() if "c_fc" not in name}
    weights |= {name: tensor for name, tensor in tensors(2).items() if "c_fc" in name}
    patterns = {"rank_pattern": {r"mlp\.c_fc": 2}, "alpha_pattern": {"resblocks.0.attn": 9}}
    update = load_adapter(write(tmp_path, weights, r=3, **patterns))
    layer = "visual.transformer.resblocks.0."
    for module, name, scale in [
        ("attn.base_layer.out_proj", "attn.out_proj.weight", 3.0),  # peft gives out_proj the attention's pattern
        ("mlp.c_fc", "mlp.c_fc.weight", 2.0),
        ("mlp.c_proj", "mlp.c_proj.weight", 4 / 3),
    ]:
        want = scale * weights[f"{BLOCK}{module}.lora_B.weight"] @ weights[f"{BLOCK}{module}.lora_A.weight"]
        torch.testing.assert_close(update.dense(layer + name), want)


def test_half_precision_uploads_become_float32(tmp_path):
    update = load_adapter(write(tmp_path, {name: t.bfloat16() for name, t in tensors().items()}))
    assert all(factors.A.dtype == factors.B.dtype == torch.float32 for factors in update.values())


def nan(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_B.weight"][3, 1] = torch.nan


def infinite(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_A.weight"][1, 3] = torch.inf


def huge(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_A.weight"].fill_(1e30)


def no_b(weights):
    del weights[f"{BLOCK}mlp.c_fc.lora_B.weight"]


def unequal_ranks(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_B.weight"] = torch.randn(128, 3)


def integers(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_B.weight"] = torch.ones(128, 2, dtype=torch.int64)


def a_vector(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_B.weight"] = torch.ones(256)


def a_bias(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_B.bias"] = torch.ones(128)


def a_whole_layer(weights):
    weights["base_model.model.visual.proj"] = torch.ones(4, 4)


def a_dora_vector(weights):
    weights[f"{BLOCK}mlp.c_fc.lora_magnitude_vector"] = torch.ones(128)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (nan, "c_fc.weight: all numbers must be finite"),
        (infinite, "c_fc.weight: all numbers must be finite"),
        (huge, "c_fc.weight: its norm must stay below"),
        (no_b, "c_fc.weight: must have lora_A and lora_B"),
        (unequal_ranks, "c_fc.weight: A .* and B .* must both have the config's rank 2"),
        (integers, "c_fc.weight: lora_B must be a matrix of floats, got I64"),
        (a_vector, r"c_fc.weight: lora_B must be a matrix of floats, got F32 \[256\]"),
        (a_bias, "unexpected key"),
        (a_whole_layer, "unexpected key"),
        (a_dora_vector, "unexpected key"),
        (dict.clear, "the file is empty"),
    ],
)
def test_wrong_tensors_are_one_sentence_with_path_and_next_step(tmp_path, spoil, words):
    weights = tensors()
    spoil(weights)
    with pytest.raises(SapError, match=words) as error:
        load_adapter(write(tmp_path, weights))
    assert str(tmp_path / "adapter_model.safetensors") in str(error.value)
    assert "Put a sound copy of the adapter there" in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"},
        {"r": 0},
        {"r": 2.5},
        {"r": True},
        {"r": 8},
        {"lora_alpha": "x"},
        {"lora_alpha": float("nan")},
        {"lora_alpha": -1},
        {"use_dora": True},
        {"lora_bias": True},
        {"bias": "all"},
        {"modules_to_save": ["visual.proj"]},
        {"fan_in_fan_out": True},
        {"init_lora_weights": "pissa"},
        {"rank_pattern": {"c_fc": 2.0}},
        {"use_rslora": "no"},
        {"peft_version": 2},
        {"peft_version": ["0.21.2"]},
        {"peft_version": "1" * 5000},
        {"rank_pattern": [1]},
        {"alpha_pattern": {"c_fc": "x"}},
    ],
    ids=str,
)
def test_anything_but_a_plain_lora_is_refused(tmp_path, config):
    with pytest.raises(SapError, match=r"adapter_config\.json|adapter_model\.safetensors"):
        load_adapter(write(tmp_path, tensors(), **config))


def test_broken_files_are_one_sentence(tmp_path):
    path = write(tmp_path, tensors()) / "adapter_model.safetensors"
    whole = path.read_bytes()
    for broken in (whole[:-50], whole[:20], b"", b"\xff" * 64):
        path.write_bytes(broken)
        with pytest.raises(SapError, match=r"adapter_model\.safetensors cannot be read"):
            load_adapter(tmp_path)
    path.write_bytes(whole)
    for broken in ("{", "[" * 100_000, "[]", '{"a": ' + "1" * 2**20 + "}"):
        (tmp_path / "adapter_config.json").write_text(broken, encoding="utf-8")
        with pytest.raises(SapError, match=r"adapter_config\.json"):
            load_adapter(tmp_path)
    write(tmp_path, tensors())
    path.unlink()
    with pytest.raises(SapError, match=r"adapter_model\.safetensors is missing"):
        load_adapter(tmp_path)
