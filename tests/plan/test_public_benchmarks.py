"""The overlays for public benchmarks, planned over made folders of the layout that they say."""

from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import yaml

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.datasets import texts_of
from sap.plan.overlays import read_config

ROOT = Path(__file__).parents[2]
OFFICEHOME = """
    Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
    Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet
    Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil
    Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon
    TV Table Telephone ToothBrush Toys Trash_Can Webcam
"""
NAMED = "The_Eiffel_Tower The_Great_Wall_of_China The_Mona_Lisa t-shirt aircraft_carrier"
DOMAINNET = " ".join([NAMED, *(f"class_{number}" for number in range(345 - 5))])
LAYOUTS = {  # overlay -> domains, classes, some of the texts in prompts
    "officehome": (
        ["Art", "Clipart", "Product", "Real World"],
        OFFICEHOME,
        {"Alarm_Clock": "Alarm Clock", "ToothBrush": "toothbrush", "Postit_Notes": "post-it notes"},
    ),
    "terraincognita": (
        ["location_38", "location_43", "location_46", "location_100"],
        "bird bobcat cat coyote dog empty opossum rabbit raccoon squirrel",
        {"coyote": "coyote", "empty": "place without animals"},
    ),
    "vlcs": (["Caltech101", "LabelMe", "SUN09", "VOC2007"], "bird car chair dog person", {"car": "car"}),
    "domainnet": (
        ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"],
        DOMAINNET,
        {"The_Mona_Lisa": "Mona Lisa", "t-shirt": "t-shirt", "aircraft_carrier": "aircraft carrier"},
    ),
    "digits_dg": (
        ["mnist", "mnist_m", "svhn", "syn"],
        "0 1 2 3 4 5 6 7 8 9",
        {"7": "seven", "0": "zero"},
    ),
}


def made(folder: Path, domains: list[str], classes: str, images: int = 3) -> None:
    """Images of every class in every domain, by name: a plan opens none."""
    for domain, name in product(domains, classes.split()):
        place = folder / domain / name
        place.mkdir(parents=True)
        for number in range(images):
            (place / f"{number}.jpg").touch()


@pytest.fixture
def config_of(tmp_path):
    """overlay -> its config over config.yaml, with both folders filled in as its user would."""

    def config(name, *more):
        domains, classes, _ = LAYOUTS[name]
        made(tmp_path / "data", domains, classes)
        anchors = tmp_path / "anchors"
        anchors.mkdir()
        (anchors / "captions.csv").write_text("file,caption\n" + "1.png,one\n" * 32, encoding="utf-8")
        filled = tmp_path / "filled.yaml"
        sections = {"data": {"root": str(tmp_path / "data")}, "anchors": {"root": str(anchors)}}
        filled.write_text(yaml.safe_dump(sections), encoding="utf-8")
        return read_config([ROOT / f"experiments/{name}.yaml", *more, filled], ROOT / "config.yaml")

    return config


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_benchmark_is_planned_over_its_layout(config_of, name):
    domains, classes, texts = LAYOUTS[name]
    study = build_study(config_of(name))
    assert study.name == study.settings["data"]["name"] == name.replace("_", "-")
    assert study.domains == domains
    assert study.settings["data"]["classes"] == sorted(classes.split())
    found = texts_of(study.settings["data"])
    assert texts.items() <= found.items()
    assert not any("_" in text for text in found.values())
    jobs, clients = Counter(job.stage.name for job in study.jobs), len(domains) * len(study.seeds)
    assert jobs["prepare_domain"] == len(domains)
    assert (
        jobs["train_client"] == 2 * clients
    )  # each client, who is its own domain's oracle, and a pooled model a target
    assert (
        jobs["headroom"] == jobs["score_client"] == jobs["evaluate"] / study.settings["evaluate"]["shards"] == clients
    )
    assert not [reason for _, reason in study.left_out if "clients" not in reason]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_benchmark_has_the_literatures_weights_and_flips_no_digit(config_of, name):
    settings = build_study(config_of(name)).settings
    assert settings["backbone"]["model"] == "ViT-B-32-quickgelu"
    assert (settings["train"]["augment"] == "shift") == (name == "digits_dg")
    text = (ROOT / f"experiments/{name}.yaml").read_text(encoding="utf-8")
    for other in ("ViT-B-16-quickgelu", "ViT-L-14-quickgelu"):
        chosen = text.replace("  model: ", "  # model: ").replace(f"  # model: {other}", f"  model: {other}")
        assert yaml.safe_load(chosen)["backbone"]["model"] == other


def test_both_kinds_of_anchors_go_on_top_of_a_benchmark_whose_user_names_public_images(config_of, tmp_path):
    config = config_of("vlcs", ROOT / "experiments/anchors.yaml")
    with pytest.raises(SapError, match=r"Set anchors.classes to a folder of class/image"):
        build_study(config)
    made(tmp_path, ["public"], LAYOUTS["vlcs"][1], images=7)
    config["anchors"]["classes"] = str(tmp_path / "public")
    study = build_study(config)
    pools = Counter(
        point.settings.get("anchor_pool") for point in study.in_view("main") if "alignment" in point.settings
    )
    assert pools["classes"] == 3
    assert pools[None] >= 3
