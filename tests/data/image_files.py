"""Images for tests: good ones by formula, and one of each kind of bad file."""

import os
import struct
import zlib

import numpy as np
from PIL import Image


def picture(size, mode="RGB", seed=0):
    """A random image that has large and small structure."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    pixels[: height // 2, : width // 3] //= 4
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(pixels[..., 0]))
    return image.convert(mode)


def deep_png(path, colour):
    """A 16-bit PNG, grey (0) or RGB (2); Pillow writes the former only."""
    channels = {0: 1, 2: 3}[colour]
    rows = b"".join(b"\0" + os.urandom(8 * channels * 2) for _ in range(8))
    _png(path, 8, 16, colour, zlib.compress(rows))


def large_png(path, side):
    """A black PNG of one bit per pixel: a thousandth of the bytes that it decodes to."""
    deflate = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    _png(path, side, 1, 0, b"".join([deflate.compress(row) for _ in range(side)]) + deflate.flush())


def _png(path, side, bits, colour, data):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def deep_tiff(path):
    """An uncompressed 16-bit RGB TIFF."""
    data, offset = os.urandom(4 * 4 * 6), 8 + 2 + 10 * 12 + 4
    fields = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 3, offset), (259, 3, 1, 1), (262, 3, 1, 2)]
    fields += [(273, 4, 1, offset + 6), (277, 3, 1, 3), (278, 4, 1, 4), (279, 4, 1, len(data)), (284, 3, 1, 1)]
    body = b"II*\0" + struct.pack("<IH", 8, 10) + b"".join(struct.pack("<HHII", *field) for field in fields)
    path.write_bytes(body + struct.pack("<IHHH", 0, 16, 16, 16) + data)


def bmp_565(path):
    """A good 8 × 8 BMP with 16 bits per pixel (5-6-5), which is less than 8 per channel."""
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0) + struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    start = struct.pack("<2sIHHI", b"BM", 14 + len(header) + 128, 0, 0, 14 + len(header))
    path.write_bytes(start + header + bytes(range(128)))


def write_bad(kind, folder):
    """One broken file of a kind; returns its path."""
    good = folder / "good.jpg"
    picture((80, 60)).save(good)
    path = folder / f"bad-{kind}"
    if kind == "truncated.jpg":
        path.write_bytes(good.read_bytes()[:-400])
    elif kind == "truncated.png":
        picture((80, 60)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "header.png":
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    elif kind == "empty.png":
        path.touch()
    elif kind == "text.jpg":
        path.write_text("not an image", encoding="utf-8")
    elif kind == "notes.json":
        path.write_text('{"a": 1}', encoding="utf-8")
    elif kind == "grey16.png":
        deep_png(path, 0)
    elif kind == "rgb16.png":
        deep_png(path, 2)
    elif kind == "rgb16.tif":
        deep_tiff(path)
    elif kind == "rgb16.ppm":
        path.write_bytes(b"P6 8 8 65535\n" + os.urandom(8 * 8 * 6))
    elif kind == "grey16.tif":
        Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(path)
    elif kind == "int32.tif":
        Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)).save(path)
    elif kind == "float.tif":
        Image.fromarray(np.zeros((8, 8), np.float32)).save(path)
    elif kind == "outside.jpg":
        path.symlink_to("/etc/hostname")
    elif kind == "dangling.jpg":
        path.symlink_to(folder / "nowhere.jpg")
    elif kind == "itself.jpg":
        path.symlink_to(path)
    elif kind == "sliver.png":
        Image.new("L", (60_000, 1)).save(path)
    return path
