"""Texts with a word of one's own: the token at one place gives way to a vector, which gradients reach."""

from typing import Any

import torch
from torch import Tensor

from sap.errors import SapError

PLACE = 2  # of the word after `a`: the text's start is a token, too


def styled_tokens(backbone: Any, contents: list[str]) -> Tensor:
    """Tokens (N, L) of `a * style of a CONTENT`, an empty content leaves the end out; the * stands at PLACE."""
    return backbone.tokenize([f"a * style of a {content}".strip() for content in contents])


def styled_features(backbone: Any, tokens: Tensor, word: Tensor) -> Tensor:
    """Unit-norm features (N, E) of texts whose token at PLACE is `word` (D,).

    SapError for a text tower without an embedding of tokens of its own.
    """
    embedding = embedding_of(backbone)

    def replace(module: Any, inputs: Any, embedded: Tensor) -> Tensor:
        own = word.to(embedded).expand(len(embedded), 1, -1)
        return torch.cat([embedded[:, :PLACE], own, embedded[:, PLACE + 1 :]], dim=1)

    handle = embedding.register_forward_hook(replace)
    try:
        return backbone.text_features(tokens)
    finally:
        handle.remove()


def embedding_of(backbone: Any) -> Any:
    """The module that embeds tokens, with its (vocabulary, D) `weight`."""
    tower = getattr(backbone.model, "text", backbone.model)
    if not hasattr(tower, "token_embedding"):
        raise SapError(
            "promptstyler: this backbone's text tower has no token embedding that a style word could replace. "
            "Choose an open_clip model with a text tower of its own, or leave the points out."
        )
    return tower.token_embedding
