"""Reference values from public packages and author repositories, and how to compare with them.

They lie in ../shared/golden, or where SAP_GOLDEN names another set of the same format.
"""

import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sap.config import parse
from sap.merge._api import METHODS
from sap.update import Factors, Update, stacks

GOLDEN = Path(os.environ.get("SAP_GOLDEN") or Path(__file__).parents[3] / "shared" / "golden")
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is absent")


@cache
def document() -> dict:
    return json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))


@cache
def cases() -> dict[str, dict]:
    return {case["id"]: case for case in document()["cases"]}


@cache
def inputs() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "inputs.safetensors")


@cache
def expected() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "expected.safetensors")


def layers() -> list[str]:
    return [layer["name"] for layer in document()["layers"]]


def clients(numbers=range(4), kind="factors", shared_a=False, shared_b=False) -> dict[str, Update]:
    """client{k} -> Update. `kind`: "factors", "dense" (the same ΔW without factors) or "full" (the full-rank input)."""
    return {
        f"client{k}": Update({layer: _entry(k, layer, kind, shared_a, shared_b) for layer in layers()}) for k in numbers
    }


def server() -> Update:
    """The trusted server update of FLTrust."""
    return Update({layer: _scaled(inputs(), "server", "server", layer) for layer in layers()})


def side(kind: str, k: int, layer: str) -> torch.Tensor:
    """`grad` (m, n), `fisher` (m, n) or `gram` (n, n) of client k."""
    return inputs()[f"client{k}.{layer}.{kind}"]


def extras() -> dict:
    """Everything that a merge method may need and that the golden set has, by layer."""
    return {
        "gradient": lambda layer: lambda k: side("grad", k, layer),
        "fisher": lambda layer: lambda k: side("fisher", k, layer),
        "gram": lambda layer: lambda k: side("gram", k, layer),
        "root": lambda layer: server().dense(layer),
    }


def merged(
    name: str, updates: dict[str, Update] | None = None, weights: list[float] | None = None, **options
) -> Update:
    """A registered method on these clients (default: 0-3, as factors); `weights` are positive, of any scale."""
    updates = updates or clients()
    counts = weights and dict(zip(updates, weights, strict=True))
    method = METHODS[name]
    return method.merge(stacks(updates, counts, extras()), parse(method.options, options, name))


def check(case_id: str, found: Update) -> None:
    """Per layer, in float64: max |found - expected| <= tolerance · max |expected|."""
    case = cases()[case_id]
    for layer in layers():
        want = expected()[f"{case['tensors']}.{layer}"].double()
        error = (found.dense(layer).double() - want).abs().max()
        assert error <= case["tolerance"] * want.abs().max(), f"{case_id}, {layer}: {error / want.abs().max():.1e}"


def _entry(k, layer, kind, shared_a, shared_b):
    if kind == "full":
        return inputs()[f"client{k}.{layer}.full"]
    a, b = ("shared" if shared_a else f"client{k}"), ("shared" if shared_b else f"client{k}")
    factors = _scaled(inputs(), a, b, layer)
    return factors.B @ factors.A if kind == "dense" else factors


def _scaled(tensors, a, b, layer) -> Factors:
    return Factors(tensors[f"{a}.{layer}.lora_A"], document()["scaling"] * tensors[f"{b}.{layer}.lora_B"])
