"""Updates written as PEFT adapters: our reader gives them back, and stock peft computes W0 + ΔW with them."""

import json
from importlib import metadata

import open_clip
import pytest
import torch
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch import nn

from sap.clip.backbone import load_backbone
from sap.errors import SapError
from sap.export import write_adapter
from sap.factors import Factors
from sap.update import Update, load_adapter

BLOCK = "visual.transformer.resblocks.{}."
VIT = {"attn.in_proj_weight": (96, 32), "attn.out_proj.weight": (32, 32), "mlp.c_fc.weight": (128, 32)}


def factors(m, n, rank, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(rank, n, generator=rng), 0.3 * torch.randn(m, rank, generator=rng))


def vit_update(in_rank=3, out_rank=3):
    ranks = {"attn.in_proj_weight": in_rank, "attn.out_proj.weight": out_rank, "mlp.c_fc.weight": 2}
    names = [(block, name) for block in (0, 1) for name in VIT]
    return Update(
        {BLOCK.format(block) + name: factors(*VIT[name], ranks[name], seed) for seed, (block, name) in enumerate(names)}
    )


class Attention(nn.Module):
    """A language model's attention, as far as LoRA cares."""

    def __init__(self, width=12):
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, 6)
        self.out_proj = nn.Linear(6, width)

    def forward(self, x):
        return self.out_proj(torch.tanh(self.v_proj(x + self.q_proj(x))))


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.ModuleDict({"attn": Attention()}) for _ in range(2)])

    def forward(self, x):
        for layer in self.layers:
            x = x + layer["attn"](x)
        return x


def language_update():
    return Update(
        {
            "layers.0.attn.q_proj.weight": factors(12, 12, 4, 0),
            "layers.0.attn.v_proj.weight": factors(6, 12, 2, 1),
            "layers.0.attn.out_proj.weight": factors(12, 6, 2, 2),
            "layers.1.attn.q_proj.weight": factors(12, 12, 2, 3),
        }
    )


def hyphenated_update():
    return Update({f"text-model.fc-{i}.weight": factors(6, 5, 2 + i, i) for i in range(3)})


@pytest.mark.parametrize(
    "update", [language_update(), vit_update(), hyphenated_update()], ids=["language", "vit", "hyphens"]
)
def test_reading_what_was_written_gives_the_very_same_factors(tmp_path, update):
    write_adapter(tmp_path, update)
    again = load_adapter(tmp_path)
    assert list(again) == list(update)
    for layer, entry in update.items():
        assert torch.equal(again[layer].A, entry.A)
        assert torch.equal(again[layer].B, entry.B)


def test_stock_peft_computes_w0_plus_the_update_of_any_linear_layers_and_ranks(tmp_path):
    """Also of a plain out_proj in a module called attn (GPT-J): only that of an nn.MultiheadAttention counts twice."""
    update, x = language_update(), torch.randn(5, 12)
    write_adapter(tmp_path, update)
    with update.applied(Language()) as model:
        want = model(x)
    theirs = PeftModel.from_pretrained(Language(), str(tmp_path))(x)
    torch.testing.assert_close(theirs, want)
    assert (want - Language()(x)).abs().max() > 0.1


@pytest.mark.parametrize(("in_rank", "out_rank"), [(3, 3), (4, 1), (1, 4)])
def test_stock_peft_computes_w0_plus_the_update_of_a_vit(tmp_path, tiny_clip_folder, in_rank, out_rank):
    """When this fails after an upgrade, that PEFT applies out_proj once: see sap.upload.out_proj_times."""
    update = vit_update(in_rank, out_rank)
    write_adapter(tmp_path, update)
    pixels = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    backbone = load_backbone(tiny_clip_folder)
    before = backbone.image_features(pixels)
    with update.applied(backbone.model):
        want = backbone.image_features(pixels)
    fresh = open_clip.create_model(f"local-dir:{tiny_clip_folder}").eval()
    theirs = PeftModel.from_pretrained(fresh, str(tmp_path)).base_model.model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(theirs, want, atol=1e-5, rtol=0)
    assert (want - before).abs().max() > 0.1
    for layer, entry in load_adapter(tmp_path).items():
        torch.testing.assert_close(entry.B @ entry.A, update.dense(layer))


def test_ranks_are_patterns_only_where_they_differ_and_the_scaling_is_one(tmp_path):
    write_adapter(tmp_path, language_update(), base_model="org/model", task_type="CAUSAL_LM")
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (2, 2, False)
    assert config["rank_pattern"] == config["alpha_pattern"] == {r"^layers\.0\.attn\.q_proj": 4}
    assert config["target_modules"] == [layer.removesuffix(".weight") for layer in language_update()]
    assert config["peft_version"] == metadata.version("peft")
    theirs = PeftConfig.from_pretrained(str(tmp_path))
    assert (theirs.base_model_name_or_path, theirs.task_type) == ("org/model", "CAUSAL_LM")


def test_a_layer_whose_name_ends_another_keeps_its_own_rank(tmp_path):
    """As in CLIP, where the text tower's names end the vision tower's."""

    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.block = nn.Linear(8, 8)
            self.visual = nn.ModuleDict({"block": nn.Linear(8, 8), "head": nn.Linear(8, 8)})

        def forward(self, x):
            return self.visual["head"](self.visual["block"](self.block(x)))

    ranks = {"block.weight": 3, "visual.block.weight": 1, "visual.head.weight": 1}
    update = Update({layer: factors(8, 8, rank, seed) for seed, (layer, rank) in enumerate(ranks.items())})
    write_adapter(tmp_path, update)
    x = torch.randn(4, 8)
    with update.applied(Towers()) as model:
        want = model(x)
    torch.testing.assert_close(PeftModel.from_pretrained(Towers(), str(tmp_path))(x), want)
    assert {layer: entry.A.shape[0] for layer, entry in load_adapter(tmp_path).items()} == ranks


def test_an_update_without_directions_is_an_adapter_of_rank_one_that_adds_nothing(tmp_path):
    write_adapter(tmp_path, Update({"layers.0.attn.q_proj.weight": factors(12, 12, 0)}))
    x = torch.randn(2, 12)
    torch.testing.assert_close(PeftModel.from_pretrained(Language(), str(tmp_path))(x), Language()(x))


def test_equal_updates_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_adapter(tmp_path / name, vit_update())
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({"q_proj.weight": torch.ones(3, 4)}, "layer q_proj.weight is dense"),
        ({"visual.proj": factors(3, 4, 1)}, "layer visual.proj cannot be in a PEFT adapter"),
        ({"attn.in_proj_weight": factors(12, 4, 1)}, "layer attn.in_proj_weight cannot be in a PEFT adapter"),
    ],
)
def test_what_no_adapter_can_hold_is_refused_and_nothing_is_written(tmp_path, layers, words):
    with pytest.raises(SapError, match=words):
        write_adapter(tmp_path, Update(layers))
    assert not list(tmp_path.iterdir())


def write_by_hand(folder, modules, **config):
    tensors = {}
    for module, (m, n) in modules.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, n)
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(m, 2)
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    plain = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "peft_version": "0.21.2"}
    (folder / "adapter_config.json").write_text(json.dumps(plain | config), encoding="utf-8")
    return load_adapter(folder)


def test_a_linear_module_called_attn_or_out_proj_is_no_multihead_attention(tmp_path):
    update = write_by_hand(tmp_path, {"h.0.attn": (8, 8), "h.1.attn.out_proj": (8, 8)}, alpha_pattern={"h.1.attn": 9})
    assert list(update) == ["h.0.attn.weight", "h.1.attn.out_proj.weight"]
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    B, A = (tensors[f"base_model.model.h.1.attn.out_proj.lora_{name}.weight"] for name in "BA")
    torch.testing.assert_close(update.dense("h.1.attn.out_proj.weight"), B @ A)  # neither twice nor with attn's alpha


def test_a_multihead_attention_may_have_any_name(tmp_path):
    update = write_by_hand(tmp_path, {"enc.self_attn": (24, 8), "enc.self_attn.base_layer.out_proj": (8, 8)})
    assert list(update) == ["enc.self_attn.in_proj_weight", "enc.self_attn.out_proj.weight"]


def test_two_tensors_for_one_layer_are_refused(tmp_path):
    with pytest.raises(SapError, match=r"attn\.out_proj\.weight: lora_A must be there once"):
        write_by_hand(tmp_path, {"attn.base_layer.out_proj": (8, 8), "attn.out_proj": (8, 8)})
