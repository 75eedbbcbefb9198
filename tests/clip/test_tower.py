"""The tower cut at a block gives the bits of the whole tower, and is cut only where nothing below changes."""

import pytest
import torch
from open_clip import CLIP

from sap.clip.checkpoint import build_model
from sap.clip.tower import above, below, first_adapted
from tests.conftest import TINY_CONFIG

BLOCK = "visual.transformer.resblocks.{}.mlp.c_fc.weight"
VARIANTS = {
    "plain": {},
    "average pooling": {"pool_type": "avg"},
    "norm after pooling": {"pool_type": "avg", "final_ln_after_pool": True},
    "attention pooling": {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2},
    "no class token norm": {"no_ln_pre": True},
}


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("block", [0, 1, 2])
def test_both_parts_together_are_the_tower_bit_for_bit(pixels, variant, block):
    torch.manual_seed(0)
    model = build_model({**TINY_CONFIG, "vision_cfg": TINY_CONFIG["vision_cfg"] | VARIANTS[variant]}, variant)
    with torch.no_grad():
        assert torch.equal(above(model, below(model, pixels, block), block), model.visual(pixels))


def test_the_cut_is_at_the_first_adapted_block(tiny_clip):
    model = tiny_clip.model
    assert first_adapted(model, [BLOCK.format(1), BLOCK.format(0)]) == 0
    assert first_adapted(model, [BLOCK.format(1)]) == 1
    assert first_adapted(model, []) == 2


def test_a_tower_is_not_cut_where_something_outside_its_blocks_is_adapted(tiny_clip):
    assert first_adapted(tiny_clip.model, [BLOCK.format(1), "visual.proj"]) is None
    assert first_adapted(tiny_clip.model, ["transformer.resblocks.1.mlp.c_fc.weight"]) is None


def test_another_kind_of_tower_is_not_cut():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
    assert first_adapted(CLIP(TINY_CONFIG["embed_dim"], vision, TINY_CONFIG["text_cfg"]), []) is None
