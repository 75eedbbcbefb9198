"""Geometry equals open_clip's, and every kind of bad file has its reason."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageOps

from sap.data import images
from sap.data.images import FORMATS, BadImage, Geometry, Rotations, fit, read_image
from tests.data.image_files import bmp_565, large_png, picture, write_bad

GEOMETRY = Geometry(32)
SIZES = [(32, 32), (64, 64), (45, 31), (31, 45), (33, 200), (20, 11), (7, 19), (101, 77)]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_equal_open_clip_for_every_shape_and_colour_mode(mode, interpolation):
    from open_clip.transform import image_transform

    theirs = image_transform(32, is_train=False, resize_mode=mode, interpolation=interpolation)
    theirs.transforms = theirs.transforms[:-2]  # without ToTensor and Normalize
    for size in SIZES:
        for colour in ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK"):
            image = picture(size, colour)
            expected = np.asarray(theirs(image))
            assert np.array_equal(fit(image, Geometry(32, interpolation, mode)), expected), (size, colour)


def test_exif_rotation_is_not_applied(tmp_path):
    image = picture((64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png", tmp_path, GEOMETRY), fit(image, GEOMETRY))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_rotation_is_applied_as_pillow_does_where_that_is_asked_for(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    picture((64, 48)).save(path, exif=exif)
    with Image.open(path) as image:
        upright = fit(ImageOps.exif_transpose(image), GEOMETRY)
    rotations = Rotations(apply=True)
    assert np.array_equal(read_image(path, tmp_path, GEOMETRY, rotations), upright)
    assert rotations.paths == ([] if orientation == 1 else [path])


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_what_is_no_orientation_turns_nothing(tmp_path, orientation):
    image, exif = picture((64, 48)), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "odd.png", exif=exif)
    rotations = Rotations(apply=True)
    assert np.array_equal(read_image(tmp_path / "odd.png", tmp_path, GEOMETRY, rotations), fit(image, GEOMETRY))
    assert rotations.paths == []


def test_broken_exif_data_do_not_make_an_image_bad(tmp_path):
    image = picture((64, 48))
    image.save(tmp_path / "broken.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_image(tmp_path / "broken.jpg", tmp_path, GEOMETRY, Rotations(apply=True)).shape == (32, 32, 3)


BAD = {
    "truncated.jpg": "corrupt or truncated",
    "truncated.png": "corrupt or truncated",
    "header.png": "not an image|corrupt or truncated",
    "empty.png": "empty file",
    "text.jpg": "not an image",
    "notes.json": "not an image",
    "grey16.png": "8 bits",
    "rgb16.png": "16 bits",
    "rgb16.tif": "16 bits",
    "rgb16.ppm": "16 bits",
    "grey16.tif": "8 bits",
    "int32.tif": "8 bits",
    "float.tif": "8 bits",
    "outside.jpg": "points outside",
    "dangling.jpg": "not a file",
    "itself.jpg": "no usable path",
}


@pytest.mark.parametrize(("kind", "reason"), BAD.items(), ids=BAD)
def test_a_bad_file_is_refused_with_its_reason(kind, reason, tmp_path):
    with pytest.raises(BadImage, match=reason):
        read_image(write_bad(kind, tmp_path), tmp_path, GEOMETRY)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    picture((60, 60)).save(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 3599)
    with pytest.raises(BadImage, match="60 × 60 pixels"):
        read_image(path, tmp_path, GEOMETRY)


@pytest.mark.parametrize(("side", "words"), [(30_000, "more pixels than are safe"), (11_000, "11000 × 11000 pixels")])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_small_file_of_many_pixels_is_refused_by_its_header(side, words, tmp_path):
    large_png(tmp_path / "bomb.png", side)
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    with pytest.raises(BadImage, match=words):
        read_image(tmp_path / "bomb.png", tmp_path, GEOMETRY)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_documented_format_is_read(kind, tmp_path):
    picture((40, 30)).save(tmp_path / "image", kind)
    with Image.open(tmp_path / "image") as image:
        assert image.format == kind
        expected = fit(image, GEOMETRY)
    assert np.array_equal(read_image(tmp_path / "image", tmp_path, GEOMETRY), expected)
    listed = (Path(__file__).parents[2] / "docs/your-own-data.md").read_text(encoding="utf-8")
    assert ", ".join(FORMATS) in listed


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "ICO", "JPEG2000"])
def test_any_other_format_is_refused_whatever_the_files_name(kind, tmp_path):
    picture((32, 32)).save(tmp_path / "image.png", kind)
    with pytest.raises(BadImage, match=r"not an image of a format that is read \(JPEG, PNG, "):
        read_image(tmp_path / "image.png", tmp_path, GEOMETRY)


def test_an_eps_named_png_starts_no_ghostscript(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    trap = tmp_path / "bin" / "gs"
    trap.write_text(f"#!/bin/sh\necho started >> {tmp_path}/started\n", encoding="utf-8")
    trap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{trap.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow's memory of where it lies
    path = tmp_path / "image.png"
    picture((20, 20)).save(path, "EPS")
    with pytest.raises(BadImage, match="not an image of a format that is read"):
        read_image(path, tmp_path, GEOMETRY)
    assert not (tmp_path / "started").exists()
    with suppress(OSError), Image.open(path) as image:  # the trap works: Pillow with all its formats steps into it
        image.load()
    assert (tmp_path / "started").exists()


def test_a_sliver_that_only_resizing_would_blow_up_is_refused(tmp_path):
    with pytest.raises(BadImage, match="60000 × 1 pixels"):
        read_image(write_bad("sliver.png", tmp_path), tmp_path, Geometry(224))


def test_what_counts_is_the_content_not_the_name(tmp_path):
    picture((40, 40)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.txt")
    assert read_image(tmp_path / "a.txt", tmp_path, GEOMETRY).shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png"], ids=["null byte", "too long"])
def test_a_name_that_no_file_can_have_is_a_reason_and_no_crash(name, tmp_path):
    with pytest.raises(BadImage, match="no usable path"):
        read_image(tmp_path / name, tmp_path, GEOMETRY)


def test_sixteen_bits_per_pixel_are_not_sixteen_per_channel(tmp_path):
    bmp_565(tmp_path / "a.bmp")
    assert read_image(tmp_path / "a.bmp", tmp_path, GEOMETRY).shape == (32, 32, 3)
