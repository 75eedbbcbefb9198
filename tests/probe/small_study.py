"""A study whose answers are known: prepared domains, an upload for each client, and the scripts that read them."""

import numpy as np
import torch

from sap.clip.backbone import load_backbone
from sap.clip.lora import add_adapter, save_adapter, trainable
from sap.clip.options import LoraOptions
from sap.data.store import write_images, write_index
from sap.io import save_tensors, write_json
from sap.provenance import save_meta

CLASSES = ("dark", "bright", *"cdefgh")
SIZE = 16


def write_domain(folder, images, labels, splits):
    prints = write_images(folder / "images.npy", iter(images), SIZE)
    write_index(folder, [f"f{i}" for i in range(len(labels))], labels, splits, prints, CLASSES, {})
    save_meta(folder, {"stage": "prepare_domain", "settings": {"classes": CLASSES}})


def tinted(channel, n, seed):
    """n noisy images with more of one colour (the domain); their brightness is the class: (images, labels)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = 40 + 100 * labels[:, None, None, None] + rng.integers(0, 20, (n, SIZE, SIZE, 3))
    images[..., channel] += 80
    return images.astype(np.uint8), labels


def noise(n, seed):
    """n images that mean nothing, with labels that mean nothing."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, SIZE, SIZE, 3), np.uint8), rng.permutation(np.arange(n) % len(CLASSES))


def undecided(backbone, images):
    """Text features (8, E) between which the frozen model hardly chooses: orthogonal to the mean image feature."""
    mean = backbone.image_features(backbone.normalise(images)).mean(0)
    texts = torch.randn(len(CLASSES), len(mean), generator=torch.Generator().manual_seed(0))
    texts -= torch.outer(texts @ mean, mean) / mean.dot(mean)
    return texts / texts.norm(dim=1, keepdim=True)


def write_classes(features, folder):
    save_tensors(folder / "text_features.safetensors", {"features": features, "logit_scale": torch.tensor(20.0)})


def write_upload(backbone_folder, folder, size, fit=None):
    """A rank-4 adapter: B drawn at `size` (0 is an untouched model), then trained by fit(backbone, factors)."""
    backbone = load_backbone(backbone_folder)
    adapted = add_adapter(backbone.model, LoraOptions(rank=4), 0, folder.name)
    factors = trainable(adapted)
    generator = torch.Generator().manual_seed(len(folder.name))
    with torch.no_grad():
        for name, factor in factors.items():
            if "lora_B" in name:
                factor.copy_(size * torch.randn(factor.shape, generator=generator))
    if fit:
        fit(backbone, factors)
    save_adapter(adapted, folder)
    write_json(folder / "meta.json", {"sample_count": 1})


def memorise(images, labels, features, steps=150):
    """Trains the factors until they know every one of these images."""

    def fit(backbone, factors):
        optimiser = torch.optim.Adam(factors.values(), lr=0.01)
        pixels, truth = backbone.normalise(images), torch.from_numpy(labels)
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(20.0 * backbone.image_features(pixels) @ features.T, truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return fit


def fold_plan(root, backbone, domains, points, **more):
    """A plan of all clients, one for each domain, as Snakemake writes it."""
    return {
        "dataset": "made", "target": "none", "seed": 0, "precision": "float32", "backbone": str(backbone),
        "classes": str(root / "classes"), "domains": {name: str(root / name) for name in domains},
        "clients": {name: str(root / "clients" / name) for name in domains}, "gradients": {}, "anchors": {},
        "statistics": {}, "points": points, **more,
    }  # fmt: skip


def merge_point(name, **settings):
    return {"id": name, "settings": {"kind": "merge", "merge": {"method": "mean"}, **settings}}


ZERO_SHOT = {"id": "zero_shot", "settings": {"kind": "zero_shot"}}
WHOLE = merge_point("whole")
HALF = merge_point("half", criterion="magnitude", prune_ratio=0.5)
