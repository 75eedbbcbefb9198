"""From a folder of images to a store: order, splits, bad input, nothing half-written."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sap.data import store
from sap.data.digits import CLASSES
from sap.data.folder import decode, list_classes, list_domains
from sap.data.images import Geometry, fit
from sap.data.options import DataOptions, DigitsOptions, ProblemOptions, SplitOptions
from sap.data.prepare import prepare_domain
from sap.data.store import open_store
from sap.errors import SapError
from sap.io import digest_file, read_csv, write_json
from tests.data.image_files import picture, write_bad
from tests.scripts import SCRIPTS, run_script

NAMES = ("cat", "dog")
GEOMETRY = Geometry(24)


@pytest.fixture
def root(tmp_path):
    """Two domains, two classes, ten images each."""
    for d, domain in enumerate(("art", "photo")):
        for c, name in enumerate(NAMES):
            folder = tmp_path / "root" / domain / name
            folder.mkdir(parents=True)
            for i in range(10):
                picture((40 + i, 30), seed=100 * d + 20 * c + i).save(folder / f"{i:02d}.png")
    return tmp_path / "root"


@pytest.fixture
def prepare(root, tmp_path):
    def prepared(domain="art", threads=2, classes=NAMES, out="store", **changes):
        options = replace(DataOptions(source="folder", root=str(root)), **changes)
        return prepare_domain(domain, options, GEOMETRY, classes, tmp_path / out, threads)

    return prepared


def test_a_store_holds_every_image_in_the_order_of_its_index(prepare, root, tmp_path):
    facts = prepare()
    domain = open_store(tmp_path / "store")
    assert domain.files == tuple(f"art/{name}/{i:02d}.png" for name in NAMES for i in range(10))
    assert domain.labels.tolist() == [0] * 10 + [1] * 10
    assert np.array_equal(domain.images[np.array([13])][0], fit(picture((43, 30), seed=23), GEOMETRY))
    assert [len(domain.rows(split)) for split in ("train", "val", "test")] == [12, 2, 6]
    assert facts["counts"]["test"] == {"cat": 3, "dog": 3}
    assert read_csv(tmp_path / "store" / "skipped.csv") == []


def test_threads_and_repetition_change_nothing(prepare, tmp_path):
    prepare(threads=1, out="one")
    prepare(threads=4, out="four")
    for name in ("images.npy", "index.csv", "skipped.csv", "examples.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_exif_rotations_are_counted_and_said(prepare, root, tmp_path, capsys, exif):
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ("03", "07"):
        with Image.open(root / "art" / "cat" / f"{name}.png") as image:
            image.load()
        image.save(root / "art" / "cat" / f"{name}.png", exif=turned)
    assert prepare(exif=exif)["rotated"] == 2
    said, said_of = capsys.readouterr(), {"ignore": "ignored as open_clip does", "apply": "applied"}
    assert f"EXIF rotation of 2 of 20 images is {said_of[exif]}" in said.out + said.err
    upright = image.transpose(Image.Transpose.ROTATE_270) if exif == "apply" else image
    assert np.array_equal(open_store(tmp_path / "store").images[np.array([7])][0], fit(upright, GEOMETRY))
    assert prepare("photo")["rotated"] == 0
    assert "EXIF" not in "".join(capsys.readouterr())


def test_other_domains_do_not_touch_a_domain(prepare, root, tmp_path):
    prepare(out="before")
    (root / "photo" / "cat" / "00.png").unlink()
    (root / "sketch").mkdir()
    prepare(out="after")
    assert (tmp_path / "before" / "index.csv").read_bytes() == (tmp_path / "after" / "index.csv").read_bytes()


def test_bad_files_are_listed_with_their_reason_and_the_rest_is_kept(prepare, root, tmp_path, capsys):
    folder = root / "art" / "cat"
    for kind in ("truncated.jpg", "empty.png", "text.jpg", "rgb16.png", "outside.jpg"):
        write_bad(kind, folder)
    (folder / "good.jpg").unlink()
    (folder / "nested").mkdir()
    (root / "art" / "loose.png").touch()
    (root / "art" / "bird").mkdir()
    for ignored in (".DS_Store", "Thumbs.db", ".hidden.png"):
        (folder / ignored).write_bytes(b"x")
    facts = prepare()
    skipped = {row["file"]: row["reason"] for row in read_csv(tmp_path / "store" / "skipped.csv")}
    assert set(skipped) == {
        "art/loose.png",
        "art/bird",
        "art/cat/nested",
        *(f"art/cat/bad-{kind}" for kind in ("truncated.jpg", "empty.png", "text.jpg", "rgb16.png", "outside.jpg")),
    }
    assert "truncated" in skipped["art/cat/bad-truncated.jpg"]
    printed = capsys.readouterr().out
    assert all(f"skipped {root}/{file}: {reason}" in printed for file, reason in skipped.items())
    assert facts["skipped"] == 8
    domain = open_store(tmp_path / "store")
    assert len(domain.images) == len(domain.files) == 20
    assert np.array_equal(domain.images[np.array([0])][0], fit(picture((40, 30), seed=0), GEOMETRY))


@pytest.mark.parametrize("kind", ["truncated.jpg", "rgb16.png"])
def test_refuse_stops_with_path_reason_and_next_step_and_writes_nothing(kind, prepare, root, tmp_path):
    write_bad(kind, root / "art" / "cat")
    with pytest.raises(SapError, match=rf"art/cat/bad-{kind}: .+ Mend or remove it"):
        prepare(problems=ProblemOptions(bad_image="refuse"))
    assert list((tmp_path / "store").iterdir()) == []


def test_a_missing_class_is_refused_or_allowed(prepare, root, tmp_path):
    for file in (root / "art" / "dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(SapError, match=r"no usable image of class 'dog'.*missing_class: allow"):
        prepare()
    assert not (tmp_path / "store" / "images.npy").exists()
    prepare(problems=ProblemOptions(missing_class="allow"))
    assert set(open_store(tmp_path / "store").labels) == {0}


@pytest.mark.parametrize(("left", "splits"), [(1, ["train"]), (2, ["test", "train"])])
def test_a_thin_class_is_refused_or_trained_on(left, splits, prepare, root, tmp_path):
    for file in sorted((root / "art" / "dog").iterdir())[left:]:
        file.unlink()
    with pytest.raises(SapError, match=rf"art/dog has {left} usable image\(s\), fewer than the 3 splits"):
        prepare()
    prepare(problems=ProblemOptions(thin_class="allow"))
    domain = open_store(tmp_path / "store")
    assert sorted(domain.splits[domain.labels == 1]) == splits


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, r: p(root=str(r / "nowhere")), "is not a folder. Set it"),
        (lambda p, r: p(root=None), "data.root: None is not a folder"),
        (lambda p, r: p("arts"), "unknown domain 'arts'. Did you mean 'art'"),
        (lambda p, r: p("../root/art"), "unknown domain"),
        (lambda p, r: p(classes=("cow",)), "holds no usable image of any class"),
        (lambda p, r: p(split=SplitOptions(val=0.5, test=0.5)), "val \\+ test must be below 1"),
        (lambda p, r: p("sketch", source="digits"), "classes: the digits set has zero"),
    ],
)
def test_wrong_settings_are_one_sentence(call, words, prepare, root):
    with pytest.raises(SapError, match=words):
        call(prepare, root)


def test_shares_without_training_images_are_refused_before_anything_is_decoded(prepare, tmp_path):
    with pytest.raises(SapError, match="val"):
        prepare(split=SplitOptions(val=0.5, test=0.5))
    assert not (tmp_path / "store").exists()


def test_a_file_name_with_control_characters_is_listed_in_one_line(prepare, root, tmp_path):
    picture((40, 30)).save(root / "art" / "cat" / "Icon\r", "png")  # what macOS leaves in synchronised folders
    prepare()
    assert [row["file"] for row in read_csv(tmp_path / "store" / "skipped.csv")] == ["art/cat/Icon\\r"]
    assert len(open_store(tmp_path / "store").files) == 20


def test_a_class_folder_whose_name_is_no_text_is_refused(prepare, root, tmp_path):
    os.mkdir(os.fsencode(root / "art") + b"/h\xfcnd")
    with pytest.raises(SapError, match=r"folder name 'h.*xfcnd' is not plain UTF-8 text. Rename"):
        prepare(classes=(*NAMES, os.fsdecode(b"h\xfcnd")))
    assert not (tmp_path / "store").exists()


def test_a_full_disk_leaves_nothing_behind(prepare, tmp_path, monkeypatch):
    real_open = open

    class Full:
        def __init__(self, handle):
            self.handle, self.left = handle, 20_000

        def __enter__(self):
            return self

        def __exit__(self, *details):
            self.handle.close()

        def __getattr__(self, name):
            return getattr(self.handle, name)

        def write(self, data):
            self.left -= len(memoryview(data).cast("B"))
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.handle.write(data)

    monkeypatch.setattr(store, "open", lambda path, mode: Full(real_open(path, mode)), raising=False)
    with pytest.raises(SapError, match=r"no space left while writing .*images.npy.*run the same command again"):
        prepare()
    assert list((tmp_path / "store").iterdir()) == []


def test_decoding_never_runs_far_ahead_of_its_reader(root, monkeypatch):
    started = []
    monkeypatch.setattr("sap.data.folder.read_image", lambda path, *_: started.append(path))
    decoded = decode(root, [f"{i}.png" for i in range(500)], GEOMETRY, threads=2)
    next(decoded)
    assert len(started) <= 12
    assert [position for position, _ in decoded] == list(range(1, 500))


def test_domains_and_classes_are_listed_in_sorted_order(root):
    (root / ".cache").mkdir()
    (root / "readme.txt").touch()
    (root / "art" / "bird").mkdir()
    assert list_domains(root) == ["art", "photo"]
    assert list_classes(root, ["photo", "art"]) == ["bird", "cat", "dog"]


def test_digits_are_stored_like_any_domain(tmp_path):
    own = DigitsOptions(per_class=10)
    prepare_domain("sketch", DataOptions(), Geometry(16), CLASSES, tmp_path / "same", own=own)
    prepare_domain("sketch", DataOptions(), Geometry(24), CLASSES, tmp_path / "larger", own=own)
    same, larger = open_store(tmp_path / "same"), open_store(tmp_path / "larger")
    assert same.images.shape == (100, 16, 16, 3)
    assert larger.images.shape == (100, 24, 24, 3)
    assert same.files == larger.files
    assert len(set(same.files)) == 100


def plan_of(root, domain, **size):
    data = {"source": "folder", "root": str(root)}
    return {"domain": domain, "data": data, "input": GEOMETRY._asdict() | size, "classes": NAMES, "listing": ""}


def command(plan, tmp_path):
    write_json(tmp_path / "plan.json", plan)
    script = SCRIPTS / "prepare_domain.py"
    return [sys.executable, script, "--plan", tmp_path / "plan.json", "--code", "x", "--out", tmp_path / "out"]


def test_the_script_reports_mistakes_in_one_line_without_a_traceback(root, tmp_path):
    wrong = subprocess.run(command(plan_of(root, "arts"), tmp_path), capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stderr == "error: data.domains: unknown domain 'arts'. Did you mean 'art'? Known: art, photo.\n"
    assert not (tmp_path / "out").exists()


def test_the_script_writes_a_store_with_its_meta(root, tmp_path):
    run_script("prepare_domain", plan_of(root, "art"), tmp_path / "out", threads=2)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert meta["counts"]["train"] == {"cat": 6, "dog": 6}
    assert meta["files"]["images.npy"] == digest_file(tmp_path / "out" / "images.npy")


def test_a_cancelled_job_leaves_no_temporary_file(root, tmp_path):
    for i in range(300):
        picture((1200, 1200), seed=i % 2).save(root / "art" / "cat" / f"large-{i}.bmp")
    job = subprocess.Popen(command(plan_of(root, "art"), tmp_path), stdout=subprocess.DEVNULL)
    while job.poll() is None and not list((tmp_path / "out").glob(".images.npy.tmp-*")):
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 143
    assert list((tmp_path / "out").iterdir()) == []
