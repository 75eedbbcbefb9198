"""PromptStyler: a text classifier that has read every class in many made-up styles, under a merged image tower.

    s_i (D,)    ~ N(0, 0.02²), one after the other, SGD on L_style + L_content               K style words
    L_style     = 1/(i − 1) Σ_{j<i} |cos(T(a s_i style of a), T(a s_j style of a))|           unlike the earlier ones
    L_content   = −1/C Σ_c log softmax_{c'} cos(T(a s_i style of a [c]), T([c']))             still about the class
    W (C, E)    ← SGD on ArcFace over the K C features T(a s_i style of a [c]):  cross-entropy of 5 cos(θ_c + 0.5)

T is the frozen text tower; W's rows, at length 1, take the place of the class texts. The server computes all of it from
the class names; clients send nothing for it. `scale: 0` puts it under zero-shot's image tower, which is its control.
Cho et al., ICCV 2023, arXiv:2307.15199; without the authors' code, losses compared with a public re-implementation
(HahnGyuTak/PromptStyler `main.py`, `classifier.py`). Rates, momentum, scale 5 and margin 0.5 are the paper's.

Departures: 8 styles of 20 steps by default, on the scale of a small text tower; the paper has `styles: 80, steps: 100`.
W starts at T([c]) and not at random, since K C features are a single batch here; all features at every step, where
they take batches of 128. The same draw in every fold and for every seed.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sap.clip.styles import embedding_of, styled_features, styled_tokens
from sap.config import option
from sap.io import seed_of
from sap.serve._api import Fold, Judge, Served, Settings, options_of, served

SPREAD, RATE, MOMENTUM = 0.02, 0.002, 0.9
HEAD_RATE, SCALE, MARGIN = 0.005, 5.0, 0.5


@dataclass(frozen=True)
class Options:
    styles: int = option(8, "K, style words that are learned", low=1)
    steps: int = option(20, "SGD steps of a style word", low=0)
    epochs: int = option(50, "SGD steps of the classifier, over all features", low=0)


@served(
    "promptstyler",
    "PromptStyler head",
    reads=("merge",),
    options=Options,
    checked="losses and margin of the re-implementation; the steps by a plain loop over the text tower",
)
def promptstyler(settings: Settings, fold: Fold) -> Served:
    """The merge's image features against a text classifier that was trained on made-up styles (PromptStyler)."""
    options, update = options_of(settings), fold.merge(settings)
    heads: list[Tensor] = []  # learned once, for all images

    def predict(judge: Judge, images: Any) -> np.ndarray:
        if not heads:
            heads.append(head(judge.backbone, list(fold.classes), options))
        logits = torch.from_numpy(judge.logits(images, update, heads[0]))
        return np.asarray(logits.softmax(1).numpy())

    return Served(predict, update=update)


def head(backbone: Any, classes: list[str], options: Options) -> Tensor:
    """W (C, E), rows of length 1, of the module docstring."""
    words = style_words(backbone, classes, options.styles, options.steps)
    tokens = styled_tokens(backbone, classes)
    with torch.no_grad():
        features = torch.cat([styled_features(backbone, tokens, word) for word in words])
        weight = backbone.text_features(backbone.tokenize(classes)).clone()
    labels = torch.arange(len(classes), device=weight.device).repeat(len(words))
    with torch.enable_grad():
        optimiser = torch.optim.SGD([weight.requires_grad_()], lr=HEAD_RATE, momentum=MOMENTUM)
        for _ in range(options.epochs):
            (weight.grad,) = torch.autograd.grad(arcface(features @ normalize(weight).T, labels), weight)
            optimiser.step()
    return normalize(weight.detach())


def style_words(backbone: Any, classes: list[str], styles: int, steps: int) -> list[Tensor]:
    """The style words s_1 ... s_K, (D,) each."""
    vocabulary = embedding_of(backbone).weight
    rng = torch.Generator().manual_seed(seed_of("promptstyler"))
    alone, with_class = styled_tokens(backbone, [""]), styled_tokens(backbone, classes)
    with torch.no_grad():
        contents = backbone.text_features(backbone.tokenize(classes))
    words, earlier = list[Tensor](), contents.new_zeros(0, contents.shape[1])
    for _ in range(styles):
        word = (SPREAD * torch.randn(vocabulary.shape[1], generator=rng)).to(vocabulary).requires_grad_()
        optimiser = torch.optim.SGD([word], lr=RATE, momentum=MOMENTUM)
        with torch.enable_grad():
            for _ in range(steps):
                style, styled = (styled_features(backbone, tokens, word) for tokens in (alone, with_class))
                (word.grad,) = torch.autograd.grad(style_loss(style, earlier, styled, contents), word)
                optimiser.step()
        words.append(word.detach())
        with torch.no_grad():
            earlier = torch.cat([earlier, styled_features(backbone, alone, words[-1])])
    return words


def style_loss(style: Tensor, earlier: Tensor, styled: Tensor, contents: Tensor) -> Tensor:
    """L_style + L_content of unit-norm features: of the style alone (1, E), of the earlier ones (i − 1, E), of each
    class in the style (C, E) and of each class alone (C, E)."""
    content = cross_entropy(styled @ contents.T, torch.arange(len(contents), device=contents.device))
    return content + (style @ earlier.T).abs().mean() if len(earlier) else content


def arcface(cosines: Tensor, labels: Tensor) -> Tensor:
    """Mean ArcFace loss of cosines (n, C): the true class has to win by the angle MARGIN.

    Beyond π − MARGIN, where an angle cannot grow by that much, the cosine goes on falling in a straight line.
    """
    own = cosines.gather(1, labels[:, None])
    sine = (1 - own.square()).clamp(min=torch.finfo(own.dtype).eps).sqrt()
    moved = own * math.cos(MARGIN) - sine * math.sin(MARGIN)
    moved = torch.where(own > -math.cos(MARGIN), moved, own - math.sin(MARGIN) * MARGIN)
    return cross_entropy(SCALE * cosines.scatter(1, labels[:, None], moved), labels)
