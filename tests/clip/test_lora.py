"""The adapter: what it is at the start, what it means, and that PEFT itself reads it."""

import json
import os

import numpy as np
import open_clip
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from sap.clip.backbone import load_backbone
from sap.clip.lora import add_adapter, lora_layers, save_adapter, set_dropout, trainable
from sap.clip.options import LoraOptions
from sap.errors import SapError
from sap.update import check_update, load_adapter

BLOCK = "base_model.model.visual.transformer.resblocks.0."
TEXT_BLOCK = "base_model.model.transformer.resblocks.0."


@pytest.fixture
def pixels(tiny_clip):
    return tiny_clip.normalise(np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8))


@pytest.fixture
def tokens(tiny_clip):
    return tiny_clip.tokenize(["dog", "a photo of a cat", "a much longer text about an owl, a pig and a hen"])


def randomised(adapted, seed=0):
    """The adapter with random factors, so that ΔW is far from zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for factor in trainable(adapted).values():
            factor.copy_(0.3 * torch.randn(factor.shape, generator=generator))
    return adapted


def start(backbone, seed=0, trainee="art", **options):
    adapted = add_adapter(backbone.model, LoraOptions(rank=4, **options), seed, trainee)
    return {name: p.detach().clone() for name, p in adapted.named_parameters() if "lora_" in name}


def by_hand(folder, clip_folder):
    """A fresh model with W0 + alpha/r · B · A written into its weights (out_proj: twice), from the files alone."""
    model = load_backbone(clip_folder).model
    weights = dict(model.named_parameters())
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / config["r"]
    factors = load_file(folder / "adapter_model.safetensors")
    for name in [name for name in factors if "lora_A" in name]:
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight").replace(".base_layer", "")
        layer += ".in_proj_weight" if layer.endswith("attn") else ".weight"
        times = 2.0 if "out_proj" in layer else 1.0
        weights[layer].data += times * scale * factors[name.replace("lora_A", "lora_B")] @ factors[name]
    return model


def test_the_update_is_zero_at_the_start_whichever_factor_trains(tiny_clip_folder, pixels):
    before = load_backbone(tiny_clip_folder).image_features(pixels)
    for factors in ("both", "A", "B"):
        backbone = load_backbone(tiny_clip_folder)
        add_adapter(backbone.model, LoraOptions(rank=4, factors=factors), 0, "art")
        torch.testing.assert_close(backbone.image_features(pixels), before, atol=1e-6, rtol=0)


def test_every_visual_weight_matrix_of_a_block_is_adapted_and_nothing_else(tiny_clip):
    adapted = add_adapter(tiny_clip.model, LoraOptions(rank=4), 0, "art")
    names = [name for name, _ in lora_layers(adapted)]
    assert len(names) == 2 * 4
    assert all(name.startswith("base_model.model.visual.transformer.resblocks.") for name in names)
    assert all("lora_" in name for name in trainable(adapted))


@pytest.mark.parametrize(("targets", "count"), [(("attention",), 2), (("mlp_in",), 1), (("mlp_in", "mlp_out"), 2)])
def test_targets_choose_the_layers(tiny_clip, targets, count):
    adapted = add_adapter(tiny_clip.model, LoraOptions(rank=4, targets=targets), 0, "art")
    assert len(list(lora_layers(adapted))) == 2 * count


@pytest.mark.parametrize("start_", ["shared", "independent"])
def test_shared_start_is_equal_for_all_clients_and_independent_is_not(tiny_clip_folder, start_):
    art, sketch = (start(load_backbone(tiny_clip_folder), trainee=name, start=start_) for name in ("art", "sketch"))
    key = BLOCK + "mlp.c_fc.lora_A.default.weight"
    assert torch.equal(art[key], sketch[key]) == (start_ == "shared")


def test_the_start_depends_on_the_seed_and_repeats_for_it(tiny_clip_folder):
    one, again, other = (start(load_backbone(tiny_clip_folder), seed=seed) for seed in (0, 0, 1))
    key = BLOCK + "attn.lora_A.default.weight"
    assert torch.equal(one[key], again[key])
    assert not torch.equal(one[key], other[key])


def test_one_layers_start_does_not_depend_on_which_others_are_adapted(tiny_clip_folder):
    everything = start(load_backbone(tiny_clip_folder))
    some = start(load_backbone(tiny_clip_folder), targets=("mlp_out",))
    key = BLOCK + "mlp.c_proj.lora_A.default.weight"
    assert torch.equal(everything[key], some[key])


@pytest.mark.parametrize(("factors", "trained", "frozen"), [("A", "lora_A", "lora_B"), ("B", "lora_B", "lora_A")])
def test_one_factor_trains_from_zero_against_a_frozen_random_one(tiny_clip, factors, trained, frozen):
    adapted = add_adapter(tiny_clip.model, LoraOptions(rank=4, factors=factors), 0, "art")
    parameters = {name: p for name, p in adapted.named_parameters() if "lora_" in name}
    assert all(p.requires_grad == (trained in name) for name, p in parameters.items())
    assert all(not p.any() for name, p in parameters.items() if trained in name)
    assert all(p.abs().min() > 0 for name, p in parameters.items() if frozen in name)


@pytest.mark.parametrize(("side", "towers"), [("image", "visual"), ("image", "both"), ("text", "both")])
def test_stock_peft_reads_the_saved_adapter_and_agrees_with_training_with_the_server_and_with_the_update_by_hand(
    tiny_clip, tiny_clip_folder, pixels, tokens, tmp_path, side, towers
):
    """When this fails after an upgrade, that PEFT applies out_proj once: see sap.upload.out_proj_times."""

    def encoded(model):
        return getattr(model, f"encode_{side}")({"image": pixels, "text": tokens}[side], normalize=True)

    adapted = randomised(add_adapter(tiny_clip.model, LoraOptions(rank=4, alpha=8.0, towers=towers), 0, "art"))
    save_adapter(adapted, tmp_path)
    ours = encoded(tiny_clip.model)
    fresh = open_clip.create_model(f"local-dir:{tiny_clip_folder}").eval()
    theirs = encoded(PeftModel.from_pretrained(fresh, str(tmp_path)).base_model.model)
    hand = encoded(by_hand(tmp_path, tiny_clip_folder))
    server = load_backbone(tiny_clip_folder)
    with load_adapter(tmp_path).applied(server.model):
        applied = encoded(server.model)
    for features in (theirs, hand, applied):
        torch.testing.assert_close(features, ours, atol=1e-5, rtol=0)
    assert (ours - encoded(load_backbone(tiny_clip_folder).model)).abs().max() > 0.1


def test_forward_and_backward_leave_the_frozen_weights_bit_for_bit(tiny_clip, tiny_clip_folder, pixels):
    before = load_backbone(tiny_clip_folder).model.state_dict()
    adapted = randomised(add_adapter(tiny_clip.model, LoraOptions(rank=4), 0, "art"))
    for _ in range(5):
        tiny_clip.image_features(pixels).sum().backward()
    after = {name.replace(".base_layer", ""): p for name, p in adapted.base_model.model.state_dict().items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("module", ["attn", "attn.base_layer.out_proj"])
@pytest.mark.parametrize("block", [BLOCK, TEXT_BLOCK], ids=["visual", "text"])
def test_gradients_are_those_of_finite_differences(tiny_clip, pixels, tokens, block, module):
    """Through in_proj and out_proj, where PEFT's own forward has the gradient of one ΔW at the point of two."""
    adapted = randomised(add_adapter(tiny_clip.model.double(), LoraOptions(rank=4, towers="both"), 0, "art"))
    factor = dict(adapted.named_parameters())[f"{block}{module}.lora_B.default.weight"]

    def loss():
        visual, text = tiny_clip.image_features(pixels.double()), tiny_clip.text_features(tokens)
        return (visual if block == BLOCK else text)[:, 0].sum()

    loss().backward()
    with torch.no_grad():
        factor[3, 1] += 1e-6
        above = loss()
        factor[3, 1] -= 2e-6
        below = loss()
    assert factor.grad[3, 1].item() == pytest.approx((above - below).item() / 2e-6, rel=1e-5)


def test_saved_files_are_equal_byte_for_byte_and_hold_no_path(tiny_clip_folder, tmp_path):
    for name in ("one", "two"):
        adapted = randomised(add_adapter(load_backbone(tiny_clip_folder).model, LoraOptions(rank=4), 0, "art"))
        size = save_adapter(adapted, tmp_path / name)
        assert sorted(os.listdir(tmp_path / name)) == ["adapter_config.json", "adapter_model.safetensors"]
        assert size == sum(path.stat().st_size for path in (tmp_path / name).iterdir())
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert (
        json.loads((tmp_path / "one" / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        is None
    )


def test_dropout_acts_only_while_it_is_switched_on(tiny_clip, pixels):
    adapted = randomised(add_adapter(tiny_clip.model, LoraOptions(rank=4, dropout=0.5), 0, "art"))
    quiet = tiny_clip.image_features(pixels)
    assert torch.equal(quiet, tiny_clip.image_features(pixels))
    set_dropout(adapted, True)
    assert not torch.equal(quiet, tiny_clip.image_features(pixels))
    set_dropout(adapted, False)
    assert torch.equal(quiet, tiny_clip.image_features(pixels))


def test_nonsense_is_refused(tiny_clip):
    with pytest.raises(SapError, match=r"train\.lora\.rank must be at most the tower's width 32"):
        add_adapter(tiny_clip.model, LoraOptions(rank=64), 0, "art")
    with pytest.raises(SapError, match=r"train\.lora\.dropout"):
        add_adapter(tiny_clip.model, LoraOptions(dropout=0.1, targets=("attention",)), 0, "art")


def test_a_tower_without_transformer_blocks_is_refused_with_its_name():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    text = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    with pytest.raises(SapError, match=r"ModifiedResNet.*ViT-B-32"):
        add_adapter(model, LoraOptions(rank=2), 0, "art")


def test_both_towers_are_adapted_in_every_block_under_the_names_of_the_models_weights(tiny_clip, tmp_path):
    adapted = add_adapter(tiny_clip.model, LoraOptions(rank=4, towers="both", first_block=1), 0, "art")
    save_adapter(randomised(adapted), tmp_path)
    update = load_adapter(tmp_path)
    names = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    towers = ("transformer.resblocks.0", "visual.transformer.resblocks.1")
    assert set(update) == {f"{tower}.{name}" for tower in towers for name in names}
    names_in_peft = dict(adapted.base_model.model.named_parameters())
    shapes = {name.replace(".base_layer", ""): tuple(p.shape) for name, p in names_in_peft.items()}
    check_update(update, shapes)


def test_the_text_update_is_zero_at_the_start_and_the_visual_start_does_not_depend_on_it(tiny_clip_folder, tokens):
    before = load_backbone(tiny_clip_folder).text_features(tokens)
    backbone = load_backbone(tiny_clip_folder)
    both = start(backbone, towers="both")
    torch.testing.assert_close(backbone.text_features(tokens), before, atol=1e-6, rtol=0)
    for name, factor in start(load_backbone(tiny_clip_folder)).items():
        assert torch.equal(factor, both[name])


def test_an_adapted_text_does_not_see_what_stands_after_it(tiny_clip, tokens):
    randomised(add_adapter(tiny_clip.model, LoraOptions(rank=4, towers="both"), 0, "art"))
    longer, ends = tokens.clone(), tokens.argmax(1)
    for row, end in zip(longer, ends, strict=True):
        row[end + 1 :] = 7
    torch.testing.assert_close(tiny_clip.text_features(longer), tiny_clip.text_features(tokens), atol=1e-6, rtol=0)


def test_a_mask_of_another_meaning_is_refused(tiny_clip):
    add_adapter(tiny_clip.model, LoraOptions(rank=4), 0, "art")
    attention, inputs = tiny_clip.model.visual.transformer.resblocks[0].attn, torch.zeros(1, 5, 32)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    with pytest.raises(NotImplementedError, match="one float mask"):
        attention(inputs, inputs, inputs, need_weights=False, attn_mask=mask)


def test_both_towers_of_a_model_with_another_text_tower_are_refused_with_its_name():
    sizes = {"width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "patch_size": 4, "width": 16, "layers": 1, "head_width": 8}
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=vision, text_cfg={"context_length": 8, **sizes})
    with pytest.raises(SapError, match=r"train\.lora\.towers: both .* CustomTextCLIP.*visual"):
        add_adapter(model, LoraOptions(rank=2, towers="both"), 0, "art")


def test_blocks_below_the_first_one_get_no_adapter_and_no_gradient(tiny_clip, pixels, tmp_path):
    adapted = randomised(add_adapter(tiny_clip.model, LoraOptions(rank=4, first_block=1), 0, "art"))
    save_adapter(adapted, tmp_path)
    assert set(load_adapter(tmp_path)) == {
        f"visual.transformer.resblocks.1.{name}"
        for name in ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    }
    tiny_clip.image_features(pixels).sum().backward()
    assert all(factor.grad is not None for factor in trainable(adapted).values())


def test_a_first_block_beyond_the_tower_is_refused(tiny_clip):
    with pytest.raises(SapError, match="first_block must be below the tower's 2 blocks, was 2"):
        add_adapter(tiny_clip.model, LoraOptions(rank=4, first_block=2), 0, "art")
