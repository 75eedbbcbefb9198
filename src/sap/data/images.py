"""One image file, decoded to the backbone's input: what is refused, and exactly open_clip's evaluation geometry."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps

MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs: a quarter of a gigabyte as RGB
# What is read, by Pillow's names (PPM has PGM and PBM, too). Its other decoders are kept away from files of others:
# that of EPS starts Ghostscript, those of rare formats are the least looked at.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class Geometry(NamedTuple):
    """Input of a backbone: side in pixels, `bicubic` or `bilinear`, and how an image is fitted into the square:
    `shortest` (side to size, centre crop), `longest` (side to size, black borders) or `squash`."""

    size: int
    interpolation: str = "bicubic"
    mode: str = "shortest"


class Rotations:
    """What is done about EXIF rotations: with `apply` images are turned, else left as they lie, as open_clip does.

    `paths`: the images that have one, in the order of reading.
    """

    def __init__(self, apply: bool = False) -> None:
        self.apply, self.paths = apply, list[Path]()

    def turned(self, image: Image.Image, path: Path) -> Image.Image:
        """The decoded image of `path`, upright where rotations are applied. Unreadable EXIF data say nothing."""
        try:
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        except Exception:  # parsers raise whatever broken bytes lead to, and the pixels are whole
            return image
        if turn is None:
            return image
        self.paths.append(path)
        return image.transpose(turn) if self.apply else image


class BadImage(Exception):
    """A file that cannot be used; the message is the reason, without the path."""


def read_image(path: Path, root: Path, geometry: Geometry, rotations: Rotations | None = None) -> np.ndarray:
    """Decode a file to (size, size, 3) uint8 RGB. EXIF rotation is not applied (open_clip does not) unless `rotations`,
    which notes the files that have one, says so; the first frame of an animation counts.

    Raises BadImage for a path that leaves `root`, an empty, truncated, corrupt or non-image file, a format that is not
    one of FORMATS, more than 8 bits per channel, and images (or shapes) too large to decode.
    """
    try:
        inside, is_file = path.resolve().is_relative_to(root.resolve()), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a name too long, a null byte
        raise BadImage(f"no usable path ({type(error).__name__}: {error})") from error
    if not inside:
        raise BadImage(f"points outside {root}")
    if not is_file:
        raise BadImage("not a file")
    try:
        if path.stat().st_size == 0:
            raise BadImage("empty file (0 bytes)")
        with Image.open(path, formats=FORMATS) as image:
            _check(image, geometry)
            image.load()
            return fit(image if rotations is None else rotations.turned(image, path), geometry)
    except BadImage:
        raise
    except Image.UnidentifiedImageError:
        raise BadImage(f"not an image of a format that is read ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError as error:  # Pillow's own check, by the header
        raise BadImage(f"more pixels than are safe to decode ({error})") from None
    except Exception as error:  # decoders raise whatever a broken byte leads to: OSError, SyntaxError, struct.error ...
        raise BadImage(f"corrupt or truncated ({type(error).__name__}: {error})") from error


def fit(image: Image.Image, geometry: Geometry) -> np.ndarray:
    """The image in the backbone's square, (size, size, 3) uint8.

    Equal, byte for byte, to open_clip.transform.image_transform(is_train=False) before its ToTensor. Like there, colour
    conversion comes last: a palette image is resized by nearest neighbour, and resizing ends before the crop.
    """
    size, mode = geometry.size, geometry.mode
    resampling = _RESAMPLING[geometry.interpolation]
    image = image.resize(_resized(image.size, geometry), resampling)
    if mode == "longest":
        image = _pad(image, size)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)).convert("RGB"))


def _resized(before: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """Width and height after resizing; the roundings are torchvision's (shortest) and timm's (longest)."""
    width, height = before
    size = geometry.size
    if geometry.mode == "squash":
        return size, size
    if geometry.mode == "longest":
        ratio = max(width, height) / size
        return round(width / ratio), round(height / ratio)
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Black borders up to size × size; the odd pixel goes right and below."""
    gap_x, gap_y = max(size - image.width, 0), max(size - image.height, 0)
    if not gap_x and not gap_y:
        return image
    border = (gap_x // 2, gap_y // 2, (gap_x + 1) // 2, (gap_y + 1) // 2)
    bands = len(image.getbands())
    padded = ImageOps.expand(image, border, fill=0 if bands == 1 else (0,) * bands)
    if image.mode == "P" and (palette := image.getpalette()) is not None:  # expand() drops it
        padded.putpalette(palette)
    return padded


def _check(image: ImageFile.ImageFile, geometry: Geometry) -> None:
    """Refuse by the header alone, before anything is decoded."""
    for width, height in (image.size, _resized(image.size, geometry)):
        if width * height > MAX_PIXELS:
            raise BadImage(f"{image.width} × {image.height} pixels need more memory than is safe to give")
    if image.mode.startswith(("I", "F")):
        raise BadImage(f"more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
    # Pillow opens deep colour PNG, TIFF and PPM as 8-bit RGB and cuts silently; only the raw mode tells
    for tile in image.tile:
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        # BGR;16 is a 16-bit pixel (5-6-5 BMP), no 16-bit channel
        deep = any(isinstance(argument, str) and ";16" in argument and argument != "BGR;16" for argument in arguments)
        if deep or (image.format == "PPM" and isinstance(arguments[-1], int) and arguments[-1] > 255):
            raise BadImage("16 bits per channel; convert it to 8 bits")
