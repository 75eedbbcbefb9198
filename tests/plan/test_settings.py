"""A wrong config is one sentence with the key's path, what is allowed and what was given."""

import re

import pytest

from sap.errors import SapError
from sap.pipeline import build_study
from sap.plan.settings import load_settings


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "train.learning_rate",
            "1e-3",
            "train.learning_rate must be a number, got '1e-3' (str). YAML reads 1e-3 as a text",
        ),
        ("train.learning_rate", -0.1, "train.learning_rate must be above 0, got -0.1"),
        ("train.learning_rat", 0.1, "train: unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        ("train.epochs", 2.5, "train.epochs must be an integer, got 2.5"),
        ("train.lora.rank", 0, "train.lora.rank must be at least 1, got 0"),
        ("train.lora.targets", ["attn"], "train.lora.targets[0]: unknown value 'attn'"),
        ("seeds", [], "seeds must hold at least 1 item(s), got 0"),
        ("seeds", [0, 0], "seeds must differ"),
        ("beds", ["digits"], "beds must name other experiments, each once, got ['digits']. Leave out digits."),
        ("evaluate.candidates", ["pth"], "evaluate.candidates: unknown view 'pth'. Did you mean 'path'?"),
        ("beds", ["a", "a"], "beds must name other experiments"),
        ("sedes", [0], "the config: unknown key 'sedes'. Did you mean 'seeds'?"),
        ("data.domains", ["photo", "sketh"], "data.domains: unknown domain 'sketh'. Did you mean 'sketch'?"),
        ("data.domains", ["photo"], "data.domains must name at least 2"),
        ("data.source", "folder", "data.root"),
        ("evaluate.targets", ["art"], "evaluate.targets: unknown domain 'art'"),
        ("corruption.clients", ["phot"], "corruption.clients: unknown client 'phot'. Did you mean 'photo'?"),
        (
            "anchors",
            {"source": "folder", "root": "no", "sizes": [8, 16, 32]},
            "anchors.root: no/captions.csv is no file",
        ),
        (
            "anchors",
            {"source": "coco", "root": "no", "captions": "no.json", "sizes": [8, 16, 32]},
            "anchors.captions: no.json is no file",
        ),
        ("corruption.target_class", "ten", "corruption.target_class: unknown class 'ten'"),
        ("backbone.kind", "checkpoint", "backbone.checkpoint must be set"),
        ("backbone", {"kind": "checkpoint", "checkpoint": "nowhere"}, "backbone.checkpoint: nowhere does not exist"),
        (
            "backbone",
            {"kind": "checkpoint", "checkpoint": "config.yaml"},
            "backbone.model or backbone.model_config must",
        ),
        (
            "backbone",
            {"kind": "pretrained", "model": "ViT-B32", "pretrained": "openai"},
            "unknown open_clip model 'ViT-B32'. Did you mean 'ViT-B-32'?",
        ),
        ("points.0.merge", ["tiess"], "points[0].merge: unknown merge method 'tiess'. Did you mean 'ties'?"),
        ("points.0.merge", [{"method": "ties", "densty": 1}], "points[0].merge (ties): unknown key 'densty'"),
        ("points.0.merge", [{"method": "ties", "density": 20}], "points[0].merge (ties).density must be at most 1"),
        ("points.1.criterion", "tailor", "points[1].criterion: unknown criterion 'tailor'"),
        ("points.1.prune_ratio", [0.5, 1.5], "points[1].prune_ratio[1] must be at most 1, got 1.5"),
        ("points.1.anchor_size", 17, "points[1].anchor_size must be one of anchors.sizes [8, 16, 32], got 17"),
        ("points.3.reduction", "mean_of_absolute", "points[3]: taylor_signed needs the gradient's sign"),
        ("points.1.merge", "product_of_means", "points[1]: product_of_means merges factors"),
        ("points.1.unit", "component", "points[1]: unit component drops rank-1 components, which only factors have"),
        ("points.1.unit", "layer", "points[1]: unit layer drops whole layers of the model. Set scope: model."),
        ("points.1.rescale", "robustmerge", "points[1]: rescale robustmerge lifts rank-1 components"),
        ("points.2.criterion", "wanda", "points[2]: wanda is measured on the dense update. Set space: delta."),
        (
            "points.1.prune_top",
            0.6,
            "points[1]: prune_top is a part of prune_ratio, so it must be at most 0.5, got 0.6",
        ),
        ("points.1.prune_ratio", [0.5, 0.7], "points[1].label must name one point, but the block makes 2"),
        ("points.0.views", "mian", "points[0].views[0]: unknown value 'mian'"),
        ("points.0.views", ["main", "seen"], "points[0].views: seen is no view any more. Write judged_on: clients."),
        (
            "points.0.views",
            "select",
            "points[0].views: select is no view any more. Write views: selection, judged_on: selection.",
        ),
        ("points.0.views", "everyone", "points[0].views: everyone is no view any more. Write judged_on: everyone."),
        (
            "points.0.views",
            "probe",
            "points[0].views: probe is no view any more. Write stages: probe, with judged_on: []",
        ),
        (
            "points.0.views",
            "privacy",
            "points[0].views: privacy is no view any more. Write stages: privacy, with judged_on: [] where",
        ),
        (
            "points.0.views",
            "selection",
            "points[0].views: selection chooses by validation images and anchors. Add judged",
        ),
        ("points.0.judged_on", "seen", "points[0].judged_on[0]: unknown value 'seen'"),
        ("points.0.stages", "evaluate", "points[0].stages[0]: unknown value 'evaluate'"),
        ("points", [], "points must hold at least one block"),
        ("points", "mean", "points must be a list"),
        ("points", ["mean"], "points[0] must be a mapping"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(changed, key, value, sentence):
    with pytest.raises(SapError, match=re.escape(sentence)):
        _ = build_study(changed(key, value)).points


def test_missing_keys_take_their_defaults(config):
    minimal = {"points": [{"merge": "mean"}]}
    full = load_settings(minimal)
    assert full["train"]["lora"]["rank"] == 8
    assert full["data"]["domains"] == ["handwritten", "photo", "printed", "sketch"]
    assert full["points"]["points[0]"]["merge"] == [{"method": "mean"}]


def test_a_folder_without_domains_and_a_missing_folder_are_told_apart(changed, tmp_path):
    config = changed("data.source", "folder")
    config["backbone"] |= {"kind": "pretrained", "model": "ViT-B-32", "pretrained": "openai"}
    config["data"]["root"] = str(tmp_path / "nowhere")
    with pytest.raises(SapError, match="is no readable folder"):
        load_settings(config)
    config["data"]["root"] = str(tmp_path)
    with pytest.raises(SapError, match="holds no folders"):
        load_settings(config)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("anchors.sizes", [8, 16, 32, 100000], "anchors.sizes asks for 100000 pairs, and data.digits.anchors has 64."),
        (
            "backbone.prompts",
            ["a {}.", "a photo"],
            "backbone.prompts[1] must contain {} once for the class",
        ),
        ("backbone.prompts", ["{} or {}"], "backbone.prompts[0] must contain {} once"),
        ("data.class_names", {"zeroo": "nought"}, "data.class_names: unknown class 'zeroo'. Did you mean 'zero'?"),
        (
            "data.class_names",
            {7: "seven"},
            "data.class_names: 7 is a number in YAML. Write the folder's name in quotes.",
        ),
        ("data.class_names", {"zero": "one"}, "'zero' and 'one' are both 'one' in prompts"),
        ("data.split", {"val": 0.5, "test": 0.5}, "data.split: val + test must be below 1, got 0.5 + 0.5"),
        ("evaluate.targets", ["photo", "photo"], "evaluate.targets must differ from one another"),
        ("experiment", "a" * 240, "experiment must match"),
        ("backbone.scratch.patch_size", 17, "backbone.scratch.patch_size must be at most the image side 16, got 17"),
        ("backbone.scratch.width", 65, "backbone.scratch.width must be a multiple of head_width 32, got 65"),
        ("backbone.scratch.head_width", 65, "backbone.scratch.width must be a multiple of head_width 65, got 64"),
        ("train.lora.rank", 65, "train.lora.rank must be at most the tower's width 64, got 65"),
        ("train.lora.first_block", 3, "train.lora.first_block must be below the tower's 3 blocks, got 3"),
        ("train.lora", {"dropout": 0.1, "targets": ["attention"]}, "train.lora.dropout acts on MLP layers only"),
        (
            "train",
            {"early_stop": 3, "average": "swa"},
            "train.early_stop keeps one epoch, and train.average: swa many.",
        ),
        (
            "train",
            {"orthogonal": 1.0, "lora": {"factors": "B"}},
            "train.orthogonal acts on A, and train.lora.factors: B",
        ),
        ("train.lora.towers", "both", "train.lora.towers: both trains clients that nothing can score"),
        ("partition", {"clients_per_domain": 70, "min_size": 15}, "has at most 970 images to train on, too few for 70"),
        ("points.1.alignment", "contrastive", None),
    ],
)
def test_what_a_job_would_refuse_is_refused_before_any_runs(changed, key, value, sentence):
    config = changed(key, value)
    if sentence is None:  # right as it is, wrong beside another key
        build_study(config)
        config["anchors"]["sizes"] = [1, 8, 16, 32]
        sentence = "points[1].alignment: contrastive compares anchors, so anchors.sizes must be above 1"
    with pytest.raises(SapError, match=re.escape(sentence)):
        build_study(config)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("train.early_stop", 3, "train.early_stop needs validation images, and data.split.val is 0"),
        (
            "points.1.judged_on",
            ["selection"],
            "points[1].judged_on: selection reads validation images",
        ),
    ],
)
def test_what_reads_validation_images_needs_some(changed, key, value, sentence):
    config = changed(key, value)
    build_study(config)
    config["data"]["split"]["val"] = 0.0
    with pytest.raises(SapError, match=re.escape(sentence)):
        build_study(config)


def test_lorm_insists_on_a_factor_that_the_clients_share(changed):
    config = changed("points.0.merge", [{"method": "lorm", "shared": "A"}])
    with pytest.raises(SapError, match=re.escape("Set train.lora.factors: B and train.lora.start: shared")):
        build_study(config)
    config["train"]["lora"]["factors"] = "B"
    build_study(config)


@pytest.fixture
def own(changed, tmp_path):
    """(config of a study with own images, their folder: three domains, two classes of three images each)."""
    for domain in ("photo", "sketch", "paint"):
        for name in ("cat", "dog"):
            (tmp_path / domain / name).mkdir(parents=True)
            for number in range(3):
                (tmp_path / domain / name / f"{number}.png").touch()
    config = changed("data", {"source": "folder", "root": str(tmp_path)})
    config["backbone"] |= {"kind": "pretrained", "model": "ViT-B-32", "pretrained": "openai"}
    return config, tmp_path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("-rf", "'-rf' begins with -, so that commands take it for an option"),
        ("a" * 240, "has more than 150 bytes"),
        ("Ä" * 80, "has more than 150 bytes"),
        ("a\nb", r"the folder name 'a\nb' is not plain UTF-8 text"),
        ("a\x1b[31m", "is not plain UTF-8 text"),
        ("{seed}", "has a brace, which Snakemake reads as a wildcard"),
        ("none", "stands for the fold that holds no domain out"),
    ],
)
def test_a_folder_whose_name_cannot_be_a_domains_is_refused(own, name, reason):
    config, root = own
    (root / "sketch").rename(root / name)
    with pytest.raises(SapError, match=re.escape(reason)) as error:
        build_study(config)
    assert str(error.value).isprintable()


def test_names_of_other_scripts_and_with_spaces_are_domains(own):
    config, root = own
    (root / "sketch").rename(root / "Эскиз № 1, 'q' & Co")
    assert "Эскиз № 1, 'q' & Co" in build_study(config).domains


@pytest.mark.parametrize(
    ("damage", "allow", "sentence"),
    [
        (
            lambda root: (root / "sketch/dog").rename(root / "dog"),
            "missing_class",
            "has no image of class 'dog'",
        ),
        (
            lambda root: (root / "sketch/dog/1.png").unlink(),
            "thin_class",
            "has 2 image(s), fewer than the 3",
        ),
    ],
    ids=["missing", "thin"],
)
def test_a_class_that_the_listing_lacks_is_refused_unless_it_is_allowed(own, damage, allow, sentence):
    config, root = own
    build_study(config)
    damage(root)
    config["data"]["domains"] = ["photo", "sketch", "paint"]
    with pytest.raises(SapError, match=re.escape(sentence)):
        build_study(config)
    config["data"]["problems"] = {allow: "allow"}
    build_study(config)


def test_more_anchors_than_captions_are_refused(own):
    config, root = own
    config["anchors"] = {"source": "folder", "root": str(root), "sizes": [8, 16, 32]}
    (root / "captions.csv").write_text("file,caption\n" + "a.png,a cat\n" * 31, encoding="utf-8")
    with pytest.raises(SapError, match=re.escape("anchors.sizes asks for 32 pairs") + ".*captions.csv has 31"):
        build_study(config)


@pytest.mark.parametrize(
    ("lora", "sentence"),
    [({"rank": 769}, "the tower's width 768, got 769"), ({"first_block": 12}, "the tower's 12 blocks, got 12")],
)
def test_lora_is_checked_against_the_config_of_a_named_model(own, lora, sentence):
    config, _ = own
    build_study(config)
    config["train"]["lora"] |= lora
    with pytest.raises(SapError, match=re.escape(sentence)):
        build_study(config)
