"""Two pools of anchors side by side: captions that know nothing of the study, and images of its classes."""

import pytest

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.folds import shard_plan
from tests.plan.conftest import SAP

BOTH = {"views": ["sweep"], **SAP, "anchor_pool": ["captions", "classes"]}
WORDS = {"seven": "heptad"}


def drawn(study):
    return [job for job in study.jobs if job.stage.name == "draw_anchors"]


def test_each_pool_has_its_own_anchors_and_gradients(config):
    study = build_study(config | {"points": [BOTH]})
    captions, classes = study.points
    assert captions.settings["saliency"] != classes.settings["saliency"]
    plan = shard_plan(study, "photo", 0, 0)
    read = {point.id: plan.anchors[point.settings["saliency"]] for point in plan.points if "saliency" in point.settings}
    assert read == {
        captions.id: study.folder("draw_anchors", 0, "captions"),
        classes.id: study.folder("draw_anchors", 0, "classes"),
    }
    assert {job.folder for job in drawn(study)} == set(read.values())
    assert set(plan.gradients) == {captions.settings["saliency"], classes.settings["saliency"]}
    scored = [job for job in study.jobs if job.stage.name == "score_client"]
    assert {study.plan("score_client", job.id, **job.place).anchors for job in scored} == set(read.values())
    words = [study.plan("draw_anchors", job.id).words for job in drawn(study)]
    assert words[0] is None
    assert words[1]["texts"]["seven"] == "seven"
    assert words[1]["prompts"] == config["backbone"]["prompts"]
    assert classes.label.endswith("classes as anchors")


def test_points_that_do_not_name_a_pool_keep_their_ids(config):
    points = [{"views": ["sweep"], **SAP}, {"merge": ["mean", "fltrust"]}]
    before = build_study(config | {"points": points})
    named = [block | {"anchor_pool": "captions"} for block in points]
    after = build_study(config | {"points": [*named, BOTH]})
    ids = [point.id for point in before.points]
    assert ids == [point.id for point in after.points][: len(ids)]
    assert all("anchor_pool" not in point.settings for point in before.points)
    assert before.id("draw_anchors", 0) == after.id("draw_anchors", 0)


def test_masks_are_compared_over_draws_of_the_captions(config):
    study = build_study(config | {"points": [BOTH | {"anchor_draw": [0, 1]}]})
    assert [(gradient.draw, gradient.pool) for gradient in study.compared] == [(0, "captions"), (1, "captions")]


def test_only_what_reads_anchors_is_told_apart_by_their_pool(config):
    block = {"criterion": ["taylor_absolute", "random"], "merge": ["mean"], "anchor_pool": ["captions", "classes"]}
    study = build_study(config | {"points": [block | {"views": ["sweep"]}]})
    assert len(study.points) == 3
    aligned = {"merge": {"method": "adamerging", "objective": "alignment"}, "anchor_pool": ["captions", "classes"]}
    assert len({point.settings["saliency"] for point in build_study(config | {"points": [aligned]}).points}) == 2


def test_class_words_and_prompts_move_the_images_of_classes_and_no_captions(config, changed):
    def anchors(config):
        study = build_study(config | {"points": [BOTH]})
        return study.id("draw_anchors", 0, "captions"), study.id("draw_anchors", 0, "classes")

    captions, classes = anchors(config)
    for key, value in (("data.class_names", WORDS), ("backbone.prompts", ["a {}."])):
        edited = anchors(changed(key, value))
        assert edited[0] == captions
        assert edited[1] != classes


@pytest.fixture
def folders(tmp_path):
    """A study's data of two domains, and public images of its classes."""
    for place in ("data/art", "data/photo", "data/real", "public"):
        for name in ("cat", "dog"):
            (tmp_path / place / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / place / name / f"{number}.png").touch()
    (tmp_path / "captions.json").touch()
    return tmp_path


def on_folders(config, folders, classes, **data):
    """The config's own study with the data and anchors of a user; its backbone is a file that nobody opens here."""
    data = config["data"] | {"source": "folder", "root": str(folders / "data"), "domains": ["art", "photo"]} | data
    backbone = config["backbone"] | {"kind": "pretrained", "model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    anchors = {"source": "coco", "root": str(folders / "public"), "captions": str(folders / "captions.json")}
    anchors |= {"classes": classes and str(folders / classes), "sizes": [2, 8]}
    points = [BOTH | {"anchor_size": 8}]
    return config | {"data": data, "backbone": backbone, "anchors": anchors, "points": points, "partition": {}}


def test_images_that_come_or_go_draw_the_classes_again_and_no_captions(config, folders):
    study = build_study(on_folders(config, folders, "public"))
    before = [study.plan("draw_anchors", job.id) for job in drawn(study)]
    (folders / "public/dog/0.png").rename(folders / "public/dog/new.png")
    study = build_study(on_folders(config, folders, "public"))
    after = [study.plan("draw_anchors", job.id) for job in drawn(study)]
    assert before[0] == after[0]
    assert before[1].stamp != after[1].stamp


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (None, r"points\[0\].anchor_pool: classes are public images .* the coco source has none. Set anchors.classes"),
        ("data/photo", r"anchors.classes: .*data/photo is the domain 'photo' of this study"),
        ("data", r"anchors.classes: .*data: unknown class 'art'"),
        ("nowhere", r"anchors.classes: .*nowhere is no readable folder"),
    ],
)
def test_a_pool_that_cannot_be_is_refused_before_anything_runs(config, folders, classes, words):
    with pytest.raises(SapError, match=words):
        build_study(on_folders(config, folders, classes))


def test_a_folder_of_classes_moves_no_captions(config, folders):
    def anchors(classes):
        edited = on_folders(config, folders, classes) | {"points": [{"views": ["sweep"], **SAP, "anchor_size": 8}]}
        return build_study(edited).id("draw_anchors", 0)

    assert anchors("public") == anchors(None)


def test_a_domain_that_nobody_trains_on_may_lend_its_images(config, folders):
    assert len(drawn(build_study(on_folders(config, folders, "data/real")))) == 2


def test_too_few_images_of_classes_are_counted_before_anything_runs(config, folders):
    edited = on_folders(config, folders, "public")
    edited["anchors"]["sizes"] = [8, 9]
    with pytest.raises(SapError, match=r"anchors.sizes asks for 9 pairs, and .*public has 8"):
        build_study(edited)
