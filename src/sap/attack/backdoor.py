"""The trigger of the backdoor attack: a patch in a corner of an image.

A fixed pattern, as in BadNets (Gu et al., 2017, arXiv:1708.06733). An attacker trains on stamped images of the target
class; the attack succeeds on a stamped test image of another class that is classified as the target.
"""

import numpy as np

from sap.errors import SapError

CELLS = 4  # of the checkerboard along a side, fewer where the patch has fewer pixels


def stamp(images: np.ndarray, size: float = 0.2) -> np.ndarray:
    """A copy of images (N,H,W,3) uint8 with a black-and-white checkerboard in the bottom right corner.

    Its side is round(size · H) pixels, 2 at least. Raises SapError unless 0 < size ≤ 1.
    """
    if not 0 < size <= 1:
        raise SapError(f"patch_size must lie above 0 and be at most 1, got {size!r}.")
    side = max(2, round(size * images.shape[1]))
    cell = np.arange(side) * min(CELLS, side) // side
    patch = ((cell[:, None] + cell) % 2 * 255).astype(np.uint8)
    stamped = images.copy()
    stamped[:, -side:, -side:] = patch[..., None]
    return stamped
