"""What is said before a study starts: one line for each thing that a user would rather know before than after."""

import pytest

from sap.pipeline import build_study
from sap.plan.notes import notes, steps_of
from sap.stages.prepare_domain.stage import fields


def test_a_study_with_nothing_to_say_says_nothing(config):
    study = build_study(config)
    assert steps_of(study)["photo"] == 12 * 15  # 10 classes × 160 images, 0.6 of them to train on, 64 at a time
    assert notes(study) == []


def test_trainings_of_few_steps_are_named_with_their_steps(changed):
    config = changed("train", {"epochs": 2, "batch_size": 128})
    (line,) = notes(build_study(config))
    assert line.startswith("handwritten, photo, printed, sketch: about 16 steps of training each, fewer than 20")
    config["partition"] |= {"clients_per_domain": 4}
    (line,) = notes(build_study(config))
    assert "photo-4of4" in line
    assert "about 4 steps" in line
    config["train"] = {"epochs": 20, "batch_size": 240}
    assert notes(build_study(config)) == []


def test_candidates_without_validation_images_are_named(changed):
    config = changed("data.split.val", 0.0)
    config["evaluate"] |= {"candidates": ["main"]}
    (line,) = notes(build_study(config))
    assert line.startswith("nothing is chosen by the sources' validation images, for data.split.val is 0.")


def test_soft_labels_are_named_with_what_they_cost(changed):
    (line,) = notes(build_study(changed("train.label_smoothing", 0.1)))
    assert line.startswith("train.label_smoothing above 0: clients that are trained to be unsure lose more by a merge")


def test_own_images_are_counted_by_the_listing(config, tmp_path):
    for domain, count in (("photo", 10), ("sketch", 400), ("paint", 40)):
        for name in ("cat", "dog"):
            (tmp_path / domain / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / domain / name / f"{number}.png").touch()
    config["data"] = {"source": "folder", "root": str(tmp_path)}
    config["backbone"] |= {"kind": "pretrained", "model": "ViT-B-32", "pretrained": "openai"}
    config["train"] = {"epochs": 12, "batch_size": 32}
    study = build_study(config)
    assert steps_of(study) == {"paint": 24, "photo": 12, "sketch": 180}
    (line,) = notes(study)
    assert line.startswith("photo: about 12 steps of training each")


@pytest.mark.parametrize(
    ("references", "headroom", "expected"),
    [
        (["zero_shot"], True, "4 pooled models are trained at each seed for evidence.headroom alone"),
        (["zero_shot", "pooled"], True, None),
        (["zero_shot"], False, None),
    ],
)
def test_models_that_only_the_headroom_trains_are_named(config, references, headroom, expected):
    config["evaluate"] = {"references": references}
    config["evidence"] = {"headroom": headroom}
    assert [line.split(":")[0] for line in notes(build_study(config))] == ([expected] if expected else [])


def test_oracles_that_are_no_clients_are_counted_too(changed):
    config = changed("partition.clients_per_domain", 2)
    config["evaluate"] = {"references": ["zero_shot"]}
    assert any(line.startswith("4 pooled and 4 oracle models are trained") for line in notes(build_study(config)))


def test_exif_enters_the_id_of_own_images_only_where_it_is_applied(config):
    """What was prepared before the option existed keeps its id."""
    study = build_study(config)
    own = study.settings | {"data": study.settings["data"] | {"source": "folder"}}
    applied = own | {"data": own["data"] | {"exif": "apply"}}
    assert "exif" not in fields(study.settings, study.input)["data"]
    assert fields(own, study.input)["data"]["exif"] == "ignore"
    assert fields(applied, study.input)["data"]["exif"] == "apply"
