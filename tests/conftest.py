"""Fixtures that several packages share: a tiny randomly initialised CLIP in open_clip's own format."""

import pytest

TINY_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
TINY_PREPROCESS = {
    "size": 16,
    "mean": [0.48, 0.46, 0.41],
    "std": [0.27, 0.26, 0.28],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def pytest_collection_modifyitems(items):
    """The workflow's files take longest: they come first, so that the small ones fill the end of both workers' time."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory):
    """A folder that holds a tiny CLIP (two visual blocks, 16 × 16 input), the same weights in every session."""
    import torch

    from sap.clip.checkpoint import build_model, save_checkpoint

    folder = tmp_path_factory.mktemp("tiny-clip")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(TINY_CONFIG, folder)
    save_checkpoint(folder, model, TINY_CONFIG, TINY_PREPROCESS)
    return folder


@pytest.fixture
def tiny_clip(tiny_clip_folder):
    """A fresh Backbone of the tiny CLIP: a test may change its weights or inject adapters."""
    from sap.clip.backbone import load_backbone

    return load_backbone(tiny_clip_folder)
