"""The trigger: where it lies, what it looks like, and that it touches nothing else."""

import numpy as np
import pytest

from sap.attack.backdoor import stamp
from sap.errors import SapError

IMAGES = np.random.default_rng(0).integers(1, 255, (3, 20, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "size", "side"), [(16, 0.2, 3), (20, 0.2, 4), (224, 0.2, 45), (8, 0.01, 2), (4, 1, 4)]
)
def test_the_patch_fills_the_bottom_right_corner_and_nothing_else_changes(height, size, side):
    grey = np.full((2, height, height, 3), 100, np.uint8)
    stamped = stamp(grey, size)
    changed = (stamped != grey).any(axis=(0, 3))
    assert changed[-side:, -side:].all()
    assert changed.sum() == side**2
    assert (grey == 100).all()


def test_the_patch_is_the_same_checkerboard_on_every_image():
    patches = stamp(IMAGES)[:, -4:, -4:]
    board = np.indices((4, 4)).sum(0) % 2 * 255
    assert np.array_equal(patches, np.broadcast_to(board[None, ..., None], (3, 4, 4, 3)))


@pytest.mark.parametrize("side", [2, 3, 5, 45])
def test_a_patch_of_any_size_is_half_black_and_half_white(side):
    patch = stamp(np.full((1, side, side, 3), 7, np.uint8), 1.0)[0]
    assert set(np.unique(patch)) == {0, 255}
    assert patch.mean() / 255 == pytest.approx(0.5, abs=0.1)


def test_no_image_is_no_problem():
    assert stamp(IMAGES[:0]).shape == (0, 20, 20, 3)


@pytest.mark.parametrize("size", [0.0, -0.2, 1.5])
def test_a_patch_that_does_not_fit_is_refused(size):
    with pytest.raises(SapError, match="patch_size must lie above 0 and be at most 1"):
        stamp(IMAGES, size)
