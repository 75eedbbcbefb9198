"""Anchor sets: nested, repeatable, and careful with files that someone else wrote."""

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from sap.data.anchors import Words, draw_anchors, repeats
from sap.data.digits import CLASSES
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


WORDS = Words({"cat": "cat", "n01882714": "koala", "left_out": "left out"}, ["a {}.", "a {a} drawing of a {}, {b}."])


@pytest.fixture
def labelled(tmp_path):
    """Six public images of one class and three of another; the third class has none."""
    for name, count in (("cat", 6), ("n01882714", 3)):
        (tmp_path / "public" / name).mkdir(parents=True)
        for i in range(count):
            picture((40, 30), seed=i + 10 * count).save(tmp_path / "public" / name / f"{i}.png")
    (tmp_path / "public" / ".hidden").mkdir()
    (tmp_path / "public" / "readme.txt").write_text("no class", encoding="utf-8")
    return tmp_path / "public"


def draw_classes(labelled, sizes=(4, 8), number=0, words=WORDS, source="folder"):
    chosen = AnchorOptions(source=source, classes=labelled and str(labelled), sizes=sizes)
    return draw_anchors(chosen, number, GEOMETRY, words=words)


def test_labelled_images_of_a_folder_are_captioned_by_their_class(labelled):
    anchors = draw_classes(labelled, (9,))
    for image, caption, file in zip(*anchors, strict=True):
        name, number = file.removesuffix(".png").split("/")
        count = {"cat": 6, "n01882714": 3}[name]
        assert np.array_equal(image, fit(picture((40, 30), seed=int(number) + 10 * count), GEOMETRY))
        assert caption in [template.replace("{}", WORDS.texts[name]) for template in WORDS.prompts]
    assert len(set(anchors.files)) == 9
    assert len({caption.replace("koala", "cat") for caption in anchors.captions}) == 2  # every prompt is used


@pytest.mark.parametrize("source", ["folder", "digits"])
def test_sets_of_classes_are_nested_even_and_follow_the_draw(labelled, source):
    words = Words({name: f"my {name}" for name in CLASSES}, ["a {}."]) if source == "digits" else WORDS
    chosen = {"labelled": None if source == "digits" else labelled, "source": source, "words": words}
    six, four, again, other = (
        draw_classes(sizes=(6,), **chosen),
        draw_classes(sizes=(4,), **chosen),
        draw_classes(sizes=(4, 6), **chosen),
        draw_classes(sizes=(6,), number=1, **chosen),
    )
    assert six.files[:4] == four.files
    assert six.captions[:4] == four.captions
    assert np.array_equal(six.images[:4], four.images)
    assert six.files == again.files
    assert six.files != other.files
    counts = Counter(file.split("/")[0] for file in six.files).values()
    assert max(counts) - min(counts) <= 1


def test_each_turn_has_an_order_of_its_own_so_that_no_class_is_always_the_first():
    words = Words({name: name for name in CLASSES}, ["a {}."])
    captions = draw_classes(None, (40,), words=words, source="digits").captions
    turns = [tuple(captions[start : start + 10]) for start in range(0, 40, 10)]
    assert all(sorted(turn) == sorted(turns[0]) for turn in turns)
    assert len(set(turns)) == 4


def test_a_captions_set_does_not_know_the_labelled_one(labelled, root):
    plain = options(root, "folder")
    both = AnchorOptions(**asdict(plain) | {"classes": str(labelled)})
    assert draw_anchors(both, 0, GEOMETRY).captions == draw_anchors(plain, 0, GEOMETRY).captions


def test_embedded_anchors_of_classes_hold_every_class_word_of_the_study():
    texts = {name: name for name in CLASSES} | {"seven": "heptad", "nine": "ennead"}
    captions = draw_classes(
        None, (20,), words=Words(texts, ["the number {}.", "a photo of a {}."]), source="digits"
    ).captions
    for text in texts.values():
        assert sum(f" {text}." in caption for caption in captions) == 2
    assert not any("seven" in caption for caption in captions)


def stray_class(labelled):
    (labelled / "dog").mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (stray_class, r"anchors.classes: .*public: unknown class 'dog'"),
        (shutil.rmtree, r"anchors.classes: .*public is no(t a| readable) folder"),
        (
            lambda labelled: [shutil.rmtree(path) for path in labelled.iterdir() if path.is_dir()],
            "holds no class/image",
        ),
        (lambda labelled: (labelled / "cat/1.png").write_bytes(b""), r"anchor .*cat/1.png: .*Mend it"),
        (lambda labelled: shutil.rmtree(labelled / "cat"), r"public has 3 pairs, but anchors.sizes asks for 8"),
    ],
)
def test_folders_of_labelled_images_are_refused_in_one_sentence(labelled, damage, words):
    damage(labelled)
    with pytest.raises(SapError, match=words):
        draw_classes(labelled, (8,))


def test_a_source_without_images_of_classes_asks_for_a_folder():
    with pytest.raises(SapError, match=r"anchors.classes must be set, for the coco source has no images"):
        draw_classes(None, source="coco")


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
