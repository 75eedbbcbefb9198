"""The embedded `digits` set: four domains of ten digits, made offline from what the dependencies ship.

Shapes come from scikit-learn's handwritten digits and from matplotlib's fonts, photo texture from scikit-learn's two
sample photos. Three pools never share a source: `corpus` (pretraining), `clients` (the domains), `anchors`. Within
`clients` the handwritten shapes are divided among the domains too: a held-out domain is unseen in shape as well.
Anchors are of two kinds: captioned images of all four styles, and labelled ones of a fifth style, PUBLIC_STYLE, so that
no label of any domain's style becomes public.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sap.data.options import DIGITS_CLASSES as CLASSES
from sap.data.options import DIGITS_DOMAINS as DOMAINS
from sap.data.options import DigitsOptions
from sap.data.rendering import GLYPH, GRID, Backdrop, Look, draw
from sap.errors import SapError
from sap.io import seed_of
from sap.registry import unknown

# --- Difficulty: everything that decides how far zero-shot lies below a trained client -----------------------------
# What the backbone saw of each domain. Uneven, but not as uneven as difficulty: photos and sketches are the hard ones.
CORPUS_SHARES = {"handwritten": 0.30, "photo": 0.28, "printed": 0.22, "sketch": 0.20}
# The clients' digits are all smaller than any the backbone saw, tilted further and noisier. A shift that every image
# shares can be learned from a few hundred of them; a mere spread cannot (trial: handwriting gained nothing from it).
LOOKS = {
    "corpus": Look(rotation=8, scale=(0.85, 1.05), shift=0.04, shear=0.10, noise=0.03, contrast=(0.7, 1.0)),
    "clients": Look(rotation=10, scale=(0.65, 0.90), shift=0.06, shear=0.15, noise=0.04, contrast=(0.6, 0.95)),
    "anchors": Look(rotation=9, scale=(0.75, 1.00), shift=0.05, shear=0.12, noise=0.04, contrast=(0.6, 1.0)),
}
# Serif faces for pretraining, other families for the clients. Only faces with upright-aligned digits of their own:
# the remaining files in matplotlib's folder hold symbols, boxes or old-style figures.
FONTS = {
    "corpus": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmr10", "cmb10", "cmti10"),
    "clients": tuple(
        f"DejaVu{family}{face}"
        for family, slant in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
        for face in ("", "-Bold", f"-{slant}", f"-Bold{slant}")
    ),
    "anchors": ("cmss10", "cmtt10"),
}
FONT_VARIATIONS = ((1.0, 0.3, 1.0), (0.8, 0.8, 1.25), (1.15, 1.3, 1.5))  # width, blur (shape pixels), gain: its weight
# --- Pools ---------------------------------------------------------------------------------------------------------
HANDWRITING = {"corpus": 0.30, "clients": 0.62, "anchors": 0.08}  # shares of the shapes of each class
PHOTO_COLUMNS = {"corpus": (0.0, 0.4), "clients": (0.4, 0.8), "anchors": (0.8, 1.0)}  # shares of a photo's width
# --- Captions ------------------------------------------------------------------------------------------------------
PUBLIC_STYLE = "chalk"  # of labelled public images
CAPTIONS = {
    "handwritten": ("a handwritten {word}.", "the digit {numeral} in handwriting.", "a scan of the digit {word}."),
    "photo": ("a photo of a {word}.", "a photo of the digit {word}.", "a photo of the number {numeral}."),
    "printed": ("a printed {numeral}.", "the number {word} in print.", "a printed digit {word}."),
    "sketch": ("a sketch of a {word}.", "a sketch of the number {numeral}.", "the digit {word}, drawn in outline."),
}
ANY_CAPTIONS = ("a photo of a {word}.", "a picture of the digit {word}.", "the number {numeral}.")
ANY_SHARE = 0.4  # share of captions that do not name the style; ties every domain to the generic prompt


def make_domain(name: str, options: DigitsOptions) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One domain of the clients' pool.

    Returns images (10 · per_class, size, size, 3) uint8, labels (10 · per_class,) int64 in ascending order, and the
    source of each image. Images of one source differ in their random appearance only: a split must keep them together.
    """
    if name not in DOMAINS:
        raise SapError(f"data.domains: {unknown('domain', name, list(DOMAINS))}")
    sources = pool_sources("clients", name, options.seed)
    labels = np.repeat(np.arange(len(CLASSES)), options.per_class)
    turns = np.tile(np.arange(options.per_class), len(CLASSES))
    chosen = [sources[label][turn % len(sources[label])] for label, turn in zip(labels, turns, strict=True)]
    rng = np.random.default_rng(seed_of("digits", "clients", name, options.seed))
    return _images("clients", name, chosen, options.size, rng), labels, chosen


def make_corpus(options: DigitsOptions) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Pretraining pairs: images (corpus, size, size, 3) uint8, one caption each, labels (corpus,) int64; shuffled."""
    rng = np.random.default_rng(seed_of("digits", "corpus", options.seed))
    shares = np.array([CORPUS_SHARES[name] for name in DOMAINS])
    ends = np.rint(np.cumsum(shares / shares.sum()) * options.corpus).astype(int)
    return _pairs("corpus", np.diff(ends, prepend=0), options, rng)


def make_anchors(options: DigitsOptions) -> tuple[np.ndarray, list[str]]:
    """Public pairs of all styles in equal numbers: images (anchors, size, size, 3) uint8, one caption each."""
    rng = np.random.default_rng(seed_of("digits", "anchors", options.seed))
    counts = np.bincount(np.arange(options.anchors) % len(DOMAINS), minlength=len(DOMAINS))
    images, captions, _ = _pairs("anchors", counts, options, rng)
    return images, captions


def make_class_anchors(options: DigitsOptions) -> tuple[np.ndarray, np.ndarray]:
    """Public labelled images in PUBLIC_STYLE: (anchors, size, size, 3) uint8, labels (anchors,) int64, classes in turn.

    The shapes are handwriting of the anchors' pool; a class repeats none before it has shown all of them.
    """
    sources = pool_sources("anchors", PUBLIC_STYLE, options.seed)
    rounds, labels = np.divmod(np.arange(options.anchors), len(CLASSES))
    chosen = [sources[label][turn % len(sources[label])] for label, turn in zip(labels, rounds, strict=True)]
    rng = np.random.default_rng(seed_of("digits", "class-anchors", options.seed))
    return _images("anchors", PUBLIC_STYLE, chosen, options.size, rng), labels


def pool_sources(pool: str, domain: str, seed: int) -> list[list[str]]:
    """Sources of one pool and domain, a list for each class: `hand-0123` (index in scikit-learn's digits) or
    `DejaVuSans-1-seven` (font, variation, digit)."""
    if domain == "printed":
        return [[f"{font}-{v}-{word}" for v in range(len(FONT_VARIATIONS)) for font in FONTS[pool]] for word in CLASSES]
    labels = _handwriting()[1]
    found = []
    for label in range(len(CLASSES)):
        order = np.random.default_rng(seed_of("digits", "pools", label, seed)).permutation(
            np.flatnonzero(labels == label)
        )
        ends = np.rint(np.cumsum(list(HANDWRITING.values())) * len(order)).astype(int)
        rows = dict(zip(HANDWRITING, np.split(order, ends[:-1]), strict=True))[pool]
        if pool == "clients":
            domains = [name for name in DOMAINS if name != "printed"]
            rows = rows[domains.index(domain) :: len(domains)]
        found.append([f"hand-{row:04d}" for row in rows])
    return found


def _pairs(pool: str, counts: np.ndarray, options: DigitsOptions, rng: np.random.Generator):
    """Shuffled pairs, `counts` of each domain, classes in equal numbers."""
    images, captions, labels = [], [], []
    for name, count in zip(DOMAINS, counts, strict=True):
        sources = pool_sources(pool, name, options.seed)
        drawn = rng.permutation(np.arange(count) % len(CLASSES))
        chosen = [sources[label][rng.integers(len(sources[label]))] for label in drawn]
        images.append(_images(pool, name, chosen, options.size, rng))
        captions += [_caption(name, label, rng) for label in drawn]
        labels.append(drawn)
    order = rng.permutation(sum(counts))
    return np.concatenate(images)[order], [captions[i] for i in order], np.concatenate(labels)[order]


def _caption(domain: str, label: int, rng: np.random.Generator) -> str:
    templates = ANY_CAPTIONS if rng.random() < ANY_SHARE else CAPTIONS[domain]
    return templates[rng.integers(len(templates))].format(word=CLASSES[label], numeral=label)


def _images(pool: str, domain: str, sources: Sequence[str], size: int, rng: np.random.Generator) -> np.ndarray:
    from sklearn.datasets import load_sample_images  # here: other studies' jobs need none of scikit-learn's imports

    shapes = np.stack([_shape(source) for source in sources])
    photos = np.stack(load_sample_images().images)
    left, right = (round(share * photos.shape[2]) for share in PHOTO_COLUMNS[pool])
    return draw(domain, shapes, LOOKS[pool], size, Backdrop(photos, left, right), rng)


@cache
def _shape(source: str) -> np.ndarray:
    """Coverage (GRID, GRID) float32 of one source."""
    if source.startswith("hand-"):
        return _handwriting()[0][int(source.removeprefix("hand-"))]
    font, variation, word = source.rsplit("-", 2)
    return _glyph(font, int(variation), CLASSES.index(word))


@cache
def _handwriting() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 brought to GRID: shapes (1797, G, G) float32, labels (1797,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    # separable cubic interpolation, written as one matrix so that digits are enlarged independently
    enlarge = ndimage.zoom(np.eye(8), (GLYPH / 8, 1), order=3, mode="nearest", grid_mode=True)
    shapes = np.clip(enlarge @ (digits.images / 16) @ enlarge.T, 0, 1)
    margin = (GRID - GLYPH) // 2
    return np.pad(shapes, ((0, 0), (margin, margin), (margin, margin))).astype(np.float32), digits.target


def _glyph(font: str, variation: int, digit: int) -> np.ndarray:
    """A digit of one font, GLYPH high; variations differ in width and weight."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    face = ImageFont.truetype(str(path), 8 * GLYPH)
    left, top, right, bottom = map(int, face.getbbox(str(digit)))  # of one digit whole pixels
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), str(digit), font=face, fill=255)
    stretch, blur, gain = FONT_VARIATIONS[variation]
    width = min(round(mask.width * GLYPH / mask.height * stretch), GRID)
    mask = mask.resize((width, GLYPH), Image.Resampling.BOX)
    sheet = Image.new("L", (GRID, GRID))
    sheet.paste(mask, ((GRID - mask.width) // 2, (GRID - GLYPH) // 2))
    return np.clip(ndimage.gaussian_filter(np.asarray(sheet, np.float32) / 255, blur) * gain, 0, 1)
