"""The default config with a few points of its own, and small changes of it."""

import copy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SAP = {"criterion": "taylor_absolute", "prune_ratio": 0.5, "merge": "mean"}
POINTS = [
    {"judged_on": "clients", "merge": ["mean", "product_of_means", "weighted_mean", "sum", "ties"]},
    {"label": "SAP", "rescale": "frobenius", **SAP},
    {"label": "SAP on factors", "space": "factors", **SAP},
    {"label": "SAP signed", **SAP, "criterion": "taylor_signed"},
    {"views": ["sweep"], **SAP, "prune_ratio": [0.1, 0.5, 0.9], "anchor_size": [8, 16, 32], "merge": ["mean", "ties"]},
]


@pytest.fixture
def default() -> dict:
    """config.yaml as it is."""
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def config(default) -> dict:
    """Nothing but these points is judged for a selection, and they only where a test says so."""
    evaluate = default["evaluate"] | {"candidates": []}
    return default | {"points": copy.deepcopy(POINTS), "evaluate": evaluate}


@pytest.fixture
def evidence(config) -> dict:
    """The same with every stage behind the claims."""
    probed = {"stages": ["probe", "privacy"], "judged_on": [], "merge": "mean"}
    stages = {"headroom": True, "towers": True, "masks": True}
    return config | {"evidence": stages, "points": [*config["points"], probed]}


@pytest.fixture
def changed(config):
    """A copy of the default config with one dotted key set."""

    def change(key: str, value: object) -> dict:
        copied = copy.deepcopy(config)
        section = copied
        *path, last = key.split(".")
        for name in path:
            section = section[int(name)] if isinstance(section, list) else section[name]
        section[last] = value
        return copied

    return change
