"""Anchor sets: nested, repeatable, and careful with files that someone else wrote."""

import json
import os
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from sap.data.anchors import draw_anchors, repeats
from sap.data.images import Geometry, fit
from sap.data.options import AnchorOptions, DigitsOptions
from sap.errors import SapError
from sap.io import load_tensors, read_csv
from tests.data.image_files import picture, write_bad
from tests.scripts import run_script

GEOMETRY = Geometry(24)


@pytest.fixture
def root(tmp_path):
    """Twelve captioned images, as a folder and as COCO captions."""
    folder = tmp_path / "anchors"
    (folder / "images").mkdir(parents=True)
    lines, images, annotations = ["file,caption"], [], []
    for i in range(12):
        picture((40, 30 + i), seed=i).save(folder / "images" / f"{i:02d}.png")
        lines.append(f'images/{i:02d}.png,"a photo of thing {i}, close"')
        images.append({"id": 100 - i, "file_name": f"{i:02d}.png"})
        annotations += [{"id": 50 - i, "image_id": 100 - i, "caption": f"first {i}"}]
        annotations += [{"id": 900 + i, "image_id": 100 - i, "caption": f"second {i}"}]
    images.append({"id": 7, "file_name": "nobody-captioned-this.png"})
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return folder


def options(root, source, sizes=(4, 8)):
    if source == "digits":
        return AnchorOptions(sizes=sizes)
    if source == "coco":
        return AnchorOptions(source="coco", root=str(root / "images"), captions=str(root / "coco.json"), sizes=sizes)
    return AnchorOptions(source="folder", root=str(root), sizes=sizes)


def draw(root, source, sizes=(4, 8), number=0):
    return draw_anchors(options(root, source, sizes), number, GEOMETRY, DigitsOptions(anchors=12))


@pytest.mark.parametrize("source", ["digits", "folder", "coco"])
def test_sets_are_nested_repeatable_and_follow_the_draw(source, root):
    eight, four, again, other = (
        draw(root, source),
        draw(root, source, (4,)),
        draw(root, source),
        draw(root, source, number=1),
    )
    assert eight.images.shape == (8, 24, 24, 3)
    assert eight.images.dtype == np.uint8
    assert np.array_equal(eight.images[:4], four.images)
    assert eight.captions[:4] == four.captions
    assert eight.files == again.files
    assert eight.files != other.files
    assert len(set(eight.files)) == 8


@pytest.mark.parametrize("source", ["folder", "coco"])
def test_each_image_keeps_its_own_caption(source, root):
    for image, caption, file in zip(*draw(root, source), strict=True):
        number = int(file[-6:-4])
        assert np.array_equal(image, fit(picture((40, 30 + number), seed=number), GEOMETRY))
        assert caption == (f"first {number}" if source == "coco" else f"a photo of thing {number}, close")


def rewrite(name, old, new):
    def change(root):
        text = (root / name).read_text(encoding="utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def spoil_image(root):
    for path in (root / "images").iterdir():
        path.write_bytes(path.read_bytes()[:200])


def escape(root):
    secret = root.parent / "secret.png"
    picture((40, 40)).save(secret)
    rewrite("captions.csv", "images/", "../secret.png#")(root)
    lines = (root / "captions.csv").read_text(encoding="utf-8").replace("#", ",").splitlines()
    (root / "captions.csv").write_text("\n".join(",".join(line.split(",")[:2]) for line in lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "damage", "words"),
    [
        ("folder", lambda root: (root / "captions.csv").unlink(), "captions.csv is missing. Write one"),
        ("folder", rewrite("captions.csv", "file,caption", "path,caption"), "column file is missing"),
        ("folder", rewrite("captions.csv", '"', ""), "row 2 has more fields than columns. Quote"),
        ("folder", rewrite("captions.csv", '"a photo of thing 3, close"', ""), "row 5 lacks its file or its caption"),
        ("folder", escape, "points outside"),
        ("folder", spoil_image, r"anchor .*png: corrupt or truncated.* Mend it"),
        (
            "folder",
            lambda root: write_bad("empty.png", root) and (root / "captions.csv").write_text("", encoding="utf-8"),
            "has 0 pairs",
        ),
        ("coco", lambda root: (root / "coco.json").write_text("{", encoding="utf-8"), "coco.json cannot be read"),
        (
            "coco",
            lambda root: (root / "coco.json").write_text("[" * 100_000, encoding="utf-8"),
            "coco.json cannot be read",
        ),
        ("coco", lambda root: (root / "coco.json").write_text("[]", encoding="utf-8"), "not a COCO captions JSON"),
        ("coco", rewrite("coco.json", '"file_name"', '"name"'), "not a COCO captions JSON .*file_name"),
        ("coco", rewrite("coco.json", '"first 3"', "null"), "expected a text, got None"),
        ("coco", rewrite("coco.json", '"file_name": "', '"file_name": "../../'), "points outside|not a file"),
        ("coco", lambda root: (root / "coco.json").unlink(), "anchors.captions: .* is not a file"),
        ("coco", lambda root: os.truncate(root / "coco.json", 2**30 + 1), "coco.json has 1073741825 bytes, .* at most"),
        (
            "coco",
            lambda root: (root / "coco.json").write_text("[" * 10**6, encoding="utf-8"),
            "coco.json cannot be read",
        ),
        ("folder", lambda root: os.truncate(root / "captions.csv", 2**30 + 1), "captions.csv has 1073741825 bytes"),
    ],
)
def test_files_of_others_are_refused_in_one_sentence(source, damage, words, root):
    damage(root)
    with pytest.raises(SapError, match=words):
        draw(root, source)


@pytest.mark.parametrize("source", ["digits", "folder", "coco"])
def test_too_few_pairs_say_how_many_there_are(source, root):
    with pytest.raises(SapError, match=r"has 12 pairs, but anchors.sizes asks for 13. Lower"):
        draw(root, source, (13,))


def test_what_is_drawn_twice_is_counted(root):
    assert repeats(draw(root, "folder", (12,))) == {"images": [], "captions": []}
    shutil.copy(root / "images" / "03.png", root / "images" / "05.png")
    rewrite("captions.csv", "a photo of thing 7,", "a photo of thing 3,")(root)
    anchors = draw(root, "folder", (12,))
    found = repeats(anchors)
    assert [set(pair) for pair in found["images"]] == [{"images/03.png", "images/05.png"}]
    assert [set(pair) for pair in found["captions"]] == [{"images/03.png", "images/07.png"}]
    for (later, earlier), *_ in found.values():
        assert anchors.files.index(earlier) < anchors.files.index(later)


def test_a_byte_order_mark_is_not_part_of_a_column_name(root):
    path = root / "captions.csv"
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert len(draw(root, "folder").files) == 8


def test_the_script_writes_images_tokens_and_captions_of_one_backbone(root, tiny_clip_folder, tmp_path, capsys):
    settings = {"anchors": asdict(options(root, "folder")), "draw": 0, "input": GEOMETRY._asdict(), "data": {}}
    backbone = tmp_path / "without weights"  # gigabytes of them, and tokens need none
    backbone.mkdir()
    shutil.copy(tiny_clip_folder / "open_clip_config.json", backbone)
    plan = settings | {"backbone": str(backbone), "files": [], "stamp": ""}
    run_script("draw_anchors", plan, tmp_path / "out")
    tensors = load_tensors(tmp_path / "out" / "anchors.safetensors", "np")
    expected = draw(root, "folder")
    assert np.array_equal(tensors["images"], expected.images)
    assert tensors["tokens"].shape == (8, 24)
    assert tensors["tokens"].dtype == np.int64
    rows = read_csv(tmp_path / "out" / "anchors.csv")
    assert [row["caption"] for row in rows] == expected.captions
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert (meta["cut_captions"], meta["repeated_images"], meta["repeated_captions"]) == (0, 0, 0)
    assert capsys.readouterr().out == ""
    exif = Image.Exif()
    exif[0x0112] = 8
    picture((40, 30), seed=99).save(root / expected.files[0], exif=exif)
    twice = expected.files[5]
    rewrite("captions.csv", expected.captions[2], "one " * 23)(root)  # begin, end: 25 of 24 tokens
    rewrite("captions.csv", f"{expected.files[6]},", f"{twice},")(root)
    run_script("draw_anchors", plan, tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert (meta["cut_captions"], meta["repeated_images"], meta["repeated_captions"]) == (1, 1, 0)
    said = capsys.readouterr().out
    assert meta["rotated"] == 1
    assert "EXIF rotation of 1 images is ignored, as open_clip does" in said
    assert "1 of 8 captions are longer than 24 tokens: cut there" in said
    assert f"1 images were drawn before, such as that of {twice} as that of {twice}" in said
