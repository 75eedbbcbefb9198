"""Backbones: what loads, what is refused, and that open_clip reads our artifact."""

import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from sap.clip import download, sources
from sap.clip.backbone import load_backbone
from sap.clip.checkpoint import CONFIG_FILE, WEIGHTS_FILE, build_model, preprocess_of, read_config, save_checkpoint
from sap.clip.options import BackboneOptions
from sap.errors import SapError


@pytest.fixture
def weights(tiny_clip_folder):
    return load_file(tiny_clip_folder / WEIGHTS_FILE)


@pytest.fixture
def config(tiny_clip_folder):
    return json.loads((tiny_clip_folder / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]


@pytest.fixture
def preprocess(tiny_clip_folder):
    return json.loads((tiny_clip_folder / CONFIG_FILE).read_text(encoding="utf-8"))["preprocess_cfg"]


@pytest.fixture
def model_config(config, tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def checkpoint(path, **more):
    return BackboneOptions(kind="checkpoint", checkpoint=str(path), **more)


def test_open_clip_loads_the_artifact_and_agrees(tiny_clip, preprocess):
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip.folder}")
    pixels = tiny_clip.normalise(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8))
    tokens = tiny_clip.tokenize(["a one.", "a two."])
    torch.testing.assert_close(theirs.encode_image(pixels, normalize=True), tiny_clip.image_features(pixels))
    torch.testing.assert_close(theirs.encode_text(tokens, normalize=True), tiny_clip.text_features(tokens))
    assert transform.transforms[-1].mean == preprocess["mean"]


def test_our_preprocessing_is_open_clips(tiny_clip):
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip.folder}")
    torch.testing.assert_close(preprocess(Image.fromarray(image)), tiny_clip.normalise(image[None])[0])


def test_a_backbone_is_frozen_float32_and_in_evaluation_mode(tiny_clip):
    assert not tiny_clip.model.training
    assert not any(parameter.requires_grad for parameter in tiny_clip.model.parameters())
    assert {parameter.dtype for parameter in tiny_clip.model.parameters()} == {torch.float32}


def test_loading_leaves_the_global_generator_alone(tiny_clip_folder):
    before = torch.get_rng_state()
    load_backbone(tiny_clip_folder)
    assert torch.equal(before, torch.get_rng_state())


def test_images_of_another_size_are_refused(tiny_clip):
    with pytest.raises(SapError, match=r"\(N,16,16,3\)"):
        tiny_clip.normalise(np.zeros((2, 8, 8, 3), np.uint8))


def test_a_folder_a_weights_file_and_a_torch_file_give_the_same_model(
    tiny_clip_folder, weights, model_config, tmp_path
):
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, tmp_path / "w.pt")
    for options in (
        checkpoint(tiny_clip_folder),
        checkpoint(tiny_clip_folder / WEIGHTS_FILE, model_config=model_config),
        checkpoint(tmp_path / "w.pt", model_config=model_config),
    ):
        loaded = sources.from_checkpoint(options).model.state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_half_precision_weights_become_float32(weights, model_config, tmp_path):
    save_file({name: tensor.half() for name, tensor in weights.items()}, tmp_path / "half.safetensors")
    source = sources.from_checkpoint(checkpoint(tmp_path / "half.safetensors", model_config=model_config))
    assert source.model.visual.proj.dtype == torch.float32


def test_quick_gelu_of_the_config_is_kept_in_the_artifact(tiny_clip_folder, config, preprocess, tmp_path):
    config = config | {"quick_gelu": True}
    save_checkpoint(tmp_path, load_backbone(tiny_clip_folder).model, config, preprocess)
    source = sources.from_checkpoint(checkpoint(tmp_path))
    assert source.model_cfg["quick_gelu"] is True
    assert type(load_backbone(tmp_path).model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


def test_the_real_vit_b_32_builds_with_its_own_preprocessing():
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    with torch.device("meta"):
        model = build_model(config, "ViT-B-32-quickgelu")
    assert len(model.visual.transformer.resblocks) == 12
    assert model.visual.conv1.weight.shape == (768, 3, 32, 32)
    tag = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    assert preprocess_of(tag, config)["size"] == 224
    assert preprocess_of(tag, config)["interpolation"] == "bicubic"


def broken(folder, weights, fault):
    """A weights file with one fault, and words that its message must hold."""
    path = folder / "w.safetensors"
    if fault == "missing":
        del weights["visual.proj"]
        save_file(weights, path)
    elif fault == "extra":
        save_file(weights | {"head.weight": torch.zeros(2)}, path)
    elif fault == "shape":
        save_file(weights | {"visual.proj": torch.zeros(32, 8)}, path)
    elif fault == "nan":
        save_file(weights | {"visual.proj": torch.full((32, 16), torch.nan)}, path)
    elif fault == "truncated":
        save_file(weights, path)
        path.write_bytes(path.read_bytes()[:1000])
    elif fault == "pickle":
        path = folder / "w.pt"
        torch.save({"model": pytest.raises}, path)
    elif fault == "not a state dict":
        path = folder / "w.pt"
        torch.save([1, 2], path)
    elif fault == "numbers for names":
        path = folder / "w.pt"
        torch.save({1: torch.zeros(2)}, path)
    elif fault == "program":
        path = folder / "w.pt"
        torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(path)
    elif fault == "garbage":
        path = folder / "w.pt"
        path.write_bytes(b"garbage")
    else:
        path = folder / "nowhere.safetensors"
    return path


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", r"lacks weights visual\.proj"),
        ("extra", r"has unknown weights head\.weight"),
        ("shape", r"visual\.proj must have shape \(32, 16\).*\(32, 8\)"),
        ("nan", "NaN"),
        ("truncated", r"w\.safetensors"),
        ("pickle", "pickled Python objects"),
        ("not a state dict", "state dict"),
        ("numbers for names", "state dict"),
        ("program", "TorchScript archive, a program"),
        ("garbage", r"w\.pt"),
        ("absent", "does not exist"),
    ],
)
def test_a_broken_weights_file_is_one_sentence_with_its_path(fault, words, weights, model_config, tmp_path):
    path = broken(tmp_path, weights, fault)
    with pytest.raises(SapError, match=words) as caught:
        sources.from_checkpoint(checkpoint(path, model_config=model_config))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_executed(tmp_path, model_config):
    class Harm:
        def __reduce__(self):
            return open, (str(tmp_path / "harm"), "w")

    torch.save({"x": Harm()}, tmp_path / "w.pt")
    with pytest.raises(SapError, match="pickled"):
        sources.from_checkpoint(checkpoint(tmp_path / "w.pt", model_config=model_config))
    assert not (tmp_path / "harm").exists()


def test_an_artifact_with_a_truncated_file_names_it(tiny_clip_folder, tmp_path):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "copy")
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:5000])
    with pytest.raises(SapError, match=WEIGHTS_FILE):
        load_backbone(folder)
    (folder / CONFIG_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(SapError, match=CONFIG_FILE):
        load_backbone(folder)


def test_a_config_that_open_clip_cannot_build_is_one_sentence(tmp_path, weights, config):
    save_file(weights, tmp_path / "w.safetensors")
    (tmp_path / "m.json").write_text(json.dumps(config | {"wings": 2}), encoding="utf-8")
    with pytest.raises(SapError, match="wings"):
        sources.from_checkpoint(checkpoint(tmp_path / "w.safetensors", model_config=str(tmp_path / "m.json")))
    (tmp_path / "m.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SapError, match="lacks embed_dim"):
        sources.from_checkpoint(checkpoint(tmp_path / "w.safetensors", model_config=str(tmp_path / "m.json")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_cfg": "x"}, "must be JSON objects"),
        ({"preprocess_cfg": [1]}, "must be JSON objects"),
        ({"preprocess_cfg": {"size": 224}}, "preprocess_cfg.size is 224, the model's image_size is 16"),
    ],
)
def test_a_config_of_wrong_types_is_one_sentence_with_its_path(tiny_clip_folder, tmp_path, change, words):
    config = json.loads((tiny_clip_folder / CONFIG_FILE).read_text(encoding="utf-8"))
    (tmp_path / "m.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(SapError, match=rf"m\.json: .*{words}"):
        read_config(tmp_path / "m.json")
    (tmp_path / "m.json").write_text(json.dumps(config["model_cfg"] | {"vision_cfg": "x"}), encoding="utf-8")
    with pytest.raises(SapError, match="lacks vision_cfg"):
        read_config(tmp_path / "m.json")


def test_a_model_with_a_tokenizer_from_the_hub_is_refused_by_name():
    with pytest.raises(SapError, match=r"timm/ViT-B-16-SigLIP.*ViT-B-32"):
        build_model(open_clip.get_model_config("ViT-B-16-SigLIP"), "backbone.model")


def test_a_model_with_a_timm_image_side_is_refused_by_name():
    with pytest.raises(SapError, match=r"convnext_base.*ViT-B-32"):
        build_model(open_clip.get_model_config("convnext_base"), "backbone.model")


def test_an_unknown_model_name_gets_the_nearest_one(tmp_path, weights):
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(SapError, match="Did you mean 'ViT-B-32'"):
        sources.from_checkpoint(checkpoint(tmp_path / "w.safetensors", model="ViT-B32"))
    with pytest.raises(SapError, match=r"backbone\.model or backbone\.model_config"):
        sources.from_checkpoint(checkpoint(tmp_path / "w.safetensors"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty cache, and the names of what was asked of a network that is not there."""
    asked = []

    def no_network(*given, **_options):
        asked.append(given[0])
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(download, "get_hf_file_metadata", no_network)
    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return asked


LAION = BackboneOptions(kind="pretrained", model="ViT-B-32", pretrained="laion2b_s34b_b79k")


def test_without_network_one_question_is_asked_and_repository_file_and_cache_are_named(hub, tmp_path):
    with pytest.raises(SapError, match=r"ViT-B-32 with tag laion2b_s34b_b79k.*Connect to the network") as error:
        sources.from_pretrained(LAION)
    for named in ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors", str(tmp_path / "hub")):
        assert named in str(error.value)
    assert len(hub) == 1


def test_without_network_the_cache_serves(hub, tmp_path, monkeypatch):
    folder = tmp_path / "hub/models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc", encoding="utf-8")
    (folder / "snapshots/abc/open_clip_pytorch_model.bin").touch()
    cfg = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")
    assert download.tag_weights(cfg, "it") == str(folder / "snapshots/abc/open_clip_pytorch_model.bin")
    assert len(hub) == 1


def test_with_a_network_open_clip_downloads_as_ever_whatever_the_hub_answers(hub, monkeypatch):
    def not_found(*_given, **_options):
        answer = SimpleNamespace(headers={}, request=None, status_code=404)
        raise huggingface_hub.errors.HfHubHTTPError("no such file", response=answer)

    monkeypatch.setattr(open_clip, "download_pretrained", lambda cfg: cfg["hf_hub"])
    for answer in (lambda *_given, **_options: None, not_found):
        monkeypatch.setattr(download, "get_hf_file_metadata", answer)
        assert download.tag_weights({"hf_hub": "somebody/model/"}, "it") == "somebody/model/"


def test_a_tag_downloads_converts_and_keeps_the_tags_preprocessing(monkeypatch, config, weights, tmp_path):
    save_file(weights, tmp_path / "w.safetensors")
    tag = {"url": "https://example.org/w", "mean": (0.1, 0.2, 0.3), "interpolation": "bilinear"}
    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["one"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, given: tag)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda cfg: str(tmp_path / "w.safetensors"))
    options = BackboneOptions(kind="pretrained", model="tiny", pretrained="one")
    source = sources.from_pretrained(options)
    assert source.preprocess_cfg["mean"] == [0.1, 0.2, 0.3]
    with pytest.raises(SapError, match=r"backbone\.interpolation is bicubic.*bilinear"):
        sources.check_preprocess(options, source.preprocess_cfg)


def test_an_unknown_tag_and_the_wrong_gelu_are_refused():
    with pytest.raises(SapError, match=r"unknown tag .* ViT-B-32-quickgelu has .*openai"):
        sources.from_pretrained(BackboneOptions(kind="pretrained", model="ViT-B-32", pretrained="openia"))
    with pytest.raises(SapError, match="ViT-B-32-quickgelu"):
        sources.from_pretrained(BackboneOptions(kind="pretrained", model="ViT-B-32", pretrained="openai"))


def test_a_difference_in_preprocessing_names_the_key(preprocess):
    options = checkpoint("x", interpolation="bilinear")
    with pytest.raises(SapError, match=r"backbone\.interpolation is bilinear.*bicubic"):
        sources.check_preprocess(options, preprocess)
    sources.check_preprocess(checkpoint("x"), preprocess)


@pytest.mark.parametrize(
    "odd", [{"interpolation": "nearest"}, {"resize_mode": "keep"}, {"mean": [0.5]}, {"std": [0.2, 0.0, 0.2]}], ids=str
)
def test_preprocessing_that_nobody_could_do_is_refused(preprocess, odd):
    (key,) = odd
    with pytest.raises(SapError, match=rf"preprocess_cfg\.{key} must be .* Correct its config"):
        sources.check_preprocess(checkpoint("x"), preprocess | odd)


def test_a_model_that_cannot_be_used_is_refused_before_its_download(monkeypatch):
    monkeypatch.setattr(open_clip, "download_pretrained", lambda cfg: pytest.fail("downloaded"))
    with pytest.raises(SapError, match="Hugging Face hub"):
        sources.from_pretrained(BackboneOptions(kind="pretrained", model="ViT-B-16-SigLIP", pretrained="webli"))
