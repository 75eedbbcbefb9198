"""Class prompts and their text features: the classifier, frozen and shared unless clients adapt the text tower."""

from collections.abc import Sequence
from functools import partial

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sap.clip.backbone import Backbone
from sap.errors import SapError

TEXT_BATCH = 256  # texts per forward pass: memory, and a constant because sums depend on it


def class_features(backbone: Backbone, classes: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """Text features (C,E) float32 of unit norm, one row per class in the given order, without gradient.

    Raises SapError for a template without `{}` or two classes with the same text.
    """
    with torch.no_grad():
        return prompt_features(backbone, prompt_tokens(backbone, classes, templates))


def prompt_tokens(backbone: Backbone, classes: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """Tokens (C,T,L) int64 of every class in each of T templates, on the model's device; errors as `class_features`."""
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong:
        raise SapError(f"backbone.prompts: a template must contain {{}} once for the class, was {wrong[0]!r}.")
    doubled = {name for name in classes if classes.count(name) > 1}
    if doubled:
        raise SapError(f"classes must have different texts, {sorted(doubled)[0]!r} stands twice. See data.class_names.")
    # Not str.format: other braces of a template are text.
    tokens = backbone.tokenize([template.replace("{}", name) for name in classes for template in templates])
    return tokens.unflatten(0, (len(classes), len(templates)))


def prompt_features(backbone: Backbone, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (C,T,L) to text features (C,E) float32: the renormalised mean of a class's unit-norm template features.

    Radford et al. 2021, section 3.1.4. Texts pass the model TEXT_BATCH at a time, and a backward pass computes each
    part again: 345 classes × 80 templates would need tens of gigabytes at once.
    """
    parts = tokens.flatten(0, 1).split(TEXT_BATCH)
    again = torch.is_grad_enabled() and len(parts) > 1
    encode = partial(checkpoint, backbone.text_features, use_reentrant=False) if again else backbone.text_features
    features = torch.cat([encode(part).float() for part in parts])  # (C·T, E)
    return functional.normalize(features.unflatten(0, tokens.shape[:2]).mean(dim=1), dim=-1)
