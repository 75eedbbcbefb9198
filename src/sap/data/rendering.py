"""How a digit looks: one shape, as ink coverage, drawn in the styles of the `digits` set: one for each
domain, and one for public images that look like no domain.

Axis letters here: N images, G the side of a stored shape, R the side of a supersampled canvas, S the image side.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

GRID = 32  # side of a stored shape
GLYPH = 24  # height of the digit inside it; the margin keeps rotated corners
OVERSAMPLE = 2  # canvas pixels per image pixel and side, averaged down against jagged edges
CHUNK = 1000  # images per pass: bounds memory at some 100 MB; part of the draw, so a constant


@dataclass(frozen=True)
class Look:
    """How far images of one pool spread. Shares of the image side unless said otherwise."""

    rotation: float  # degrees, largest, either way
    scale: tuple[float, float]  # height of the digit relative to the frame's default
    shift: float  # largest, either way
    shear: float  # horizontal shift per unit of height, largest, either way
    noise: float  # standard deviation of pixel noise, in shares of full brightness
    contrast: tuple[float, float]  # ink against ground; 1 is black on white


@dataclass(frozen=True)
class Backdrop:
    """Photos (P, h, w, 3) uint8 and the column range [left, right) that patches may come from."""

    photos: np.ndarray
    left: int
    right: int


def warp(shapes: np.ndarray, look: Look, side: int, rng: np.random.Generator) -> np.ndarray:
    """Rotate, scale, shear and shift shapes (N, G, G) onto canvases (N, side, side), coverage in [0, 1] float32."""
    n = len(shapes)
    angle = np.deg2rad(rng.uniform(-look.rotation, look.rotation, n))
    height = rng.uniform(*look.scale, n)
    width = height * rng.uniform(0.9, 1.1, n)
    shear = rng.uniform(-look.shear, look.shear, n)
    shift_y, shift_x = rng.uniform(-2 * look.shift, 2 * look.shift, (2, n))  # the frame is 2 units wide
    centres = (np.arange(side) + 0.5) / side * 2 - 1
    y, x = (axis[None] for axis in np.meshgrid(centres, centres, indexing="ij"))
    y, x = y - _column(shift_y), x - _column(shift_x)
    cos, sin = _column(np.cos(angle)), _column(np.sin(angle))
    rows = (cos * y - sin * x) / _column(height)
    columns = (sin * y + cos * x) / _column(width) + _column(shear) * rows
    middle = (GRID - 1) / 2
    index = np.broadcast_to(_column(np.arange(n)), rows.shape)
    where = np.stack([index, rows * GRID / 2 + middle, columns * GRID / 2 + middle])
    return ndimage.map_coordinates(shapes, where, output=np.float32, order=1)  # order 1: shapes never mix


def draw(
    style: str, shapes: np.ndarray, look: Look, size: int, backdrop: Backdrop, rng: np.random.Generator
) -> np.ndarray:
    """Images (N, size, size, 3) uint8 of shapes (N, G, G) in one style; fresh random appearance for each."""
    images = np.empty((len(shapes), size, size, 3), np.uint8)
    for start in range(0, len(shapes), CHUNK):
        part = slice(start, start + CHUNK)
        canvas = warp(shapes[part], look, size * OVERSAMPLE, rng)
        colours = _STYLES[style](canvas, look, size, backdrop, rng)
        colours = colours + rng.normal(0, look.noise, colours.shape)
        images[part] = np.rint(np.clip(colours, 0, 1) * 255)
    return images


def _handwritten(canvas, look, size, backdrop, rng):
    """Light ink on a dark ground, as scans of forms are usually stored."""
    n = len(canvas)
    ground = rng.uniform(0.0, 0.12, (n, 1, 1, 1))
    ink = np.minimum(ground + rng.uniform(*look.contrast, (n, 1, 1, 1)), 1)
    return _mix(_shrink(canvas, size), ground, ink)


def _photo(canvas, look, size, backdrop, rng):
    """|patch − ink|, the blend of MNIST-M (Ganin et al., JMLR 2016), on patches of real photos."""
    n = len(canvas)
    zoom = np.minimum(rng.integers(1, 4, n), max(1, (backdrop.right - backdrop.left) // size))
    _, height, _, _ = backdrop.photos.shape
    which = rng.integers(0, len(backdrop.photos), n)
    top = rng.integers(0, height - zoom * size + 1)
    left = rng.integers(backdrop.left, backdrop.right - zoom * size + 1)
    steps = np.arange(size)
    rows = (top[:, None] + zoom[:, None] * steps)[:, :, None]
    columns = (left[:, None] + zoom[:, None] * steps)[:, None, :]
    patch = backdrop.photos[which[:, None, None], rows, columns] / 255
    ink = rng.uniform(*look.contrast, (n, 1, 1, 1)) * rng.uniform(0.85, 1.0, (n, 1, 1, 3))
    return np.abs(patch - _shrink(canvas, size)[..., None] * ink)


def _sketch(canvas, look, size, backdrop, rng):
    """A pencil line along the half-coverage contour: distance to it is (c − ½) / |∇c| to first order."""
    slope_y, slope_x = np.gradient(canvas, axis=(1, 2))
    distance = (canvas - 0.5) / (np.hypot(slope_y, slope_x) + 1e-3)
    pen = OVERSAMPLE * rng.uniform(0.35, 0.5, (len(canvas), 1, 1))  # half width of the line, canvas pixels
    line = _shrink(np.exp(-0.5 * (distance / pen) ** 2), size)
    pressure = rng.uniform(*look.contrast, (len(canvas), 1, 1)) * rng.uniform(0.75, 1.0, line.shape)
    paper = rng.uniform(0.9, 1.0, (len(canvas), 1, 1, 3))
    return _mix(np.minimum(1.2 * line, 1) * pressure, paper, 0.1)


def _printed(canvas, look, size, backdrop, rng):
    """Even ink on even paper, both coloured; one in four is light on dark."""
    n = len(canvas)
    paper = rng.uniform(0.7, 1.0, (n, 1, 1, 3))
    ink = paper * (1 - rng.uniform(*look.contrast, (n, 1, 1, 1))) * rng.uniform(0.4, 1.0, (n, 1, 1, 3))
    swapped = rng.random((n, 1, 1, 1)) < 0.25
    return _mix(_shrink(canvas, size), np.where(swapped, ink, paper), np.where(swapped, paper, ink))


def _chalk(canvas, look, size, backdrop, rng):
    """Grainy light strokes on a dark coloured board; no domain looks like this."""
    n = len(canvas)
    board = rng.uniform(0.05, 0.35, (n, 1, 1, 3))
    chalk = np.minimum(board + rng.uniform(*look.contrast, (n, 1, 1, 1)), 1) * rng.uniform(0.8, 1.0, (n, 1, 1, 3))
    coverage = _shrink(canvas, size)
    return _mix(coverage * rng.uniform(0.6, 1.0, coverage.shape), board, chalk)


_STYLES = {"handwritten": _handwritten, "photo": _photo, "sketch": _sketch, "printed": _printed, "chalk": _chalk}


def _column(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


def _shrink(canvas: np.ndarray, size: int) -> np.ndarray:
    """Average OVERSAMPLE × OVERSAMPLE blocks: (N, R, R) to (N, size, size)."""
    return canvas.reshape(len(canvas), size, OVERSAMPLE, size, OVERSAMPLE).mean(axis=(2, 4))


def _mix(coverage: np.ndarray, ground: np.ndarray | float, ink: np.ndarray | float) -> np.ndarray:
    """Ink over ground, (N, size, size, 3); grey where both are grey."""
    share = coverage[..., None]
    return np.broadcast_to(ground + (np.asarray(ink) - ground) * share, (*coverage.shape, 3))
