"""Fixtures of the merge tool: adapters in the test's folder, and the script in this process."""

import importlib.util
import sys

import pytest
import torch

from sap.clip.backbone import load_backbone
from sap.clip.lora import add_adapter, save_adapter, trainable
from sap.clip.options import LoraOptions
from tests.compose.merging import ADAPTERS, SCRIPT, train


@pytest.fixture
def adapters(tmp_path):
    """Name -> peft's own ΔW of the three adapters in tmp_path."""
    return {name: train(tmp_path / name, seed=seed, **ADAPTERS[name]) for seed, name in enumerate(ADAPTERS)}


@pytest.fixture
def merge(tmp_path, monkeypatch, capsys):
    """The script in this process: merge("law", "med", "--rank", 4) in tmp_path; returns (summary, folder)."""
    spec = importlib.util.spec_from_file_location("script_merge", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.chdir(tmp_path)

    def call(*words, out="out"):
        monkeypatch.setattr(sys, "argv", ["merge.py", *map(str, words), "--out", out])
        script.main(script.parse_args())
        return capsys.readouterr().out, tmp_path / out

    return call


@pytest.fixture
def vits(tmp_path, tiny_clip_folder):
    """Three adapters of the tiny CLIP in tmp_path, trained by nobody, saved as the workflow saves them."""
    for seed, name in enumerate(("photo", "sketch", "clipart")):
        adapted = add_adapter(load_backbone(tiny_clip_folder).model, LoraOptions(rank=2), seed, name)
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for factor in trainable(adapted).values():
                factor.copy_(0.3 * torch.randn(factor.shape, generator=rng))
        save_adapter(adapted, tmp_path / name)
    return tiny_clip_folder
