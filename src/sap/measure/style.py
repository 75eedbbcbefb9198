"""The same images in a style of their own each: a client's stand-in for the domains that it never saw.

    x ← clip(g_c x + b_c)              gain g_c ~ U(1 ± GAIN) and bias b_c ~ U(± BIAS) of each channel c
    x ← 1 − x                          with probability ½
    x ← luma(x) in all channels        with probability ½
    x ← (1 − s) x + s box(x)           s ~ U(0, 1), box the mean over a window of about a sixteenth of the side
    x ← clip(x + σ ε)                  σ ~ U(0, NOISE), ε standard normal, of each value

x in [0, 1]; everything is drawn anew for every image. What is drawn says nothing of the classes: shapes stay.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

GAIN, BIAS, NOISE = 0.5, 0.3, 0.1
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
WINDOW_SHARE = 32  # pixels to either side: one of 16, seven of 224


def restyled(images: Tensor, generator: torch.Generator) -> Tensor:
    """A restyled copy of decoded images (N, H, W, 3) uint8; draws come from `generator`; all on the CPU."""

    def uniform(channels: int = 1) -> Tensor:
        return torch.rand(len(images), channels, 1, 1, generator=generator)

    x = images.permute(0, 3, 1, 2).float() / 255
    x = ((1 + GAIN * (2 * uniform(3) - 1)) * x + BIAS * (2 * uniform(3) - 1)).clamp(0, 1)
    x = torch.where(uniform() < 0.5, 1 - x, x)
    luma = (torch.tensor(LUMA)[:, None, None] * x).sum(1, keepdim=True)
    x = torch.where(uniform() < 0.5, luma, x)
    reach = max(1, x.shape[2] // WINDOW_SHARE)
    box = avg_pool2d(x, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    x = x.lerp(box, uniform())
    x = x + NOISE * uniform() * torch.randn(x.shape, generator=generator)
    return (255 * x.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1)
