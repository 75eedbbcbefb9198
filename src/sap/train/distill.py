"""How far a client's model is from the frozen one: what `train.distill` adds to its loss.

With unit-norm image features v (N,E) of the client and v_0 of the frozen model on the same augmented images, unit-norm
texts t and the logit scale s:

classes       T² · mean_n KL( softmax(s v_0ᵀ t_c / T) ‖ softmax(s vᵀ t_c / T) )            over the C class texts
              Hinton et al. 2015, section 2.1, whose T² keeps the gradient's size; the teacher is zero-shot CLIP
random_texts  mean_n 1/(2M) Σ_m (s vᵀ t_m − s v_0ᵀ t_m)²                                    over M random texts
              Nam et al. 2024, "Lipsum-FT"; cs-giung/lipsum-ft: scripts/Lipsum-FT.py, whose texts these are: begin, 8
              tokens drawn evenly from all but the two that mark begin and end, end; drawn anew at each step

Departures: a tokenizer with a shorter context has shorter random texts. With LoRA on both towers the frozen model's
class texts, and the random texts of both sides, are those of the frozen text tower.
"""

import torch
from torch import Tensor
from torch.nn import functional

from sap.clip.backbone import Backbone

RANDOM_TOKENS = 8


def class_gap(logits: Tensor, frozen_logits: Tensor, temperature: float) -> Tensor:
    """T² · mean KL of the frozen model's class probabilities to the client's; logits (N,C), a scalar."""
    ours, frozen = (functional.log_softmax(each / temperature, dim=1) for each in (logits, frozen_logits))
    return temperature**2 * functional.kl_div(ours, frozen, reduction="batchmean", log_target=True)


def text_gap(features: Tensor, frozen_features: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """Half the mean square of what the similarities to `texts` (M,E) changed by; features (N,E), a scalar."""
    return (logit_scale * (features - frozen_features) @ texts.T).square().mean() / 2


def random_texts(backbone: Backbone, count: int, generator: torch.Generator) -> Tensor:
    """Tokens (M,L) int64 of random texts, on the model's device; draws from `generator` (CPU)."""
    begin, end = backbone.tokenizer.sot_token_id, backbone.tokenizer.eot_token_id
    length = min(RANDOM_TOKENS, backbone.context_length - 2)
    tokens = torch.zeros(count, backbone.context_length, dtype=torch.int64)
    tokens[:, 0], tokens[:, length + 1] = begin, end
    tokens[:, 1 : length + 1] = torch.randint(0, min(begin, end), (count, length), generator=generator)
    return tokens.to(backbone.device)
