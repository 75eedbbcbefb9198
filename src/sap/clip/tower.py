"""The visual tower cut in two at a block: what lies below never changes while only blocks from there on are adapted.

    features = above(model, below(model, pixels, block), block)       the bits of model.visual(pixels), for any block

`below` with block 0 is the patch embedding alone.
"""

import re
from collections.abc import Iterable

import torch
from open_clip.transformer import VisionTransformer

from sap.clip.checkpoint import Model

BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.")


def first_adapted(model: Model, layers: Iterable[str]) -> int | None:
    """Number of the first visual block that holds one of `layers` (paths of weights; none: one past the last block).

    None where the tower cannot be cut there: a layer lies outside the blocks, or it is no plain open_clip ViT.
    """
    visual = model.visual
    if not isinstance(visual, VisionTransformer) or visual.output_tokens or visual.training:
        return None
    found = [BLOCK.match(layer) for layer in layers]
    inside = [int(match[1]) for match in found if match]
    return min(inside, default=len(visual.transformer.resblocks)) if len(inside) == len(found) else None


def below(model: Model, pixels: torch.Tensor, block: int) -> torch.Tensor:
    """Model input (N,3,H,W) to the input of block `block`, tokens (N,T,W)."""
    return _through(model, model.visual._embeds(pixels), slice(block))


def above(model: Model, tokens: torch.Tensor, block: int) -> torch.Tensor:
    """Input of block `block`, tokens (N,T,W), to image features (N,E), not normalised."""
    visual = model.visual
    pooled, _ = visual._pool(_through(model, tokens, slice(block, None)))
    return pooled if visual.proj is None else pooled @ visual.proj


def _through(model: Model, tokens: torch.Tensor, blocks: slice) -> torch.Tensor:
    transformer = model.visual.transformer
    if not transformer.batch_first:
        tokens = tokens.transpose(0, 1).contiguous()
    for block in transformer.resblocks[blocks]:
        tokens = block(tokens)
    return tokens if transformer.batch_first else tokens.transpose(0, 1)
