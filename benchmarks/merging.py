"""What every merge method costs at the size of CLIP ViT-B/32, next to the peers and to what memory allows.

    python benchmarks/merging.py --peers benchmarks/.peers/bin/python --output results/merging.jsonl

Prints one markdown table. Every row is measured in a process of its own, so its peak memory is its own. README.md
beside this file says how to make the peers' environment and how to read the columns. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peers
import torch
from tabulate import tabulate
from torch import Tensor

import sap.merge  # noqa: F401  registers the methods
from sap.compose import Composer
from sap.config import parse
from sap.errors import SapError
from sap.factors import Factors
from sap.merge._api import METHODS
from sap.update import Update

REPEATS, SECONDS = 5, 4.0  # calls after the cold first one, and how long all calls together may go on, see measure
WHOLE = 30.0  # seconds; a merge that would take longer is timed on one block, as all are linear in their number
LIMIT = 1200  # seconds for one row with its inputs and imports

Spec = Mapping[str, Any]  # what identifies a row


# One row, in its own process


def run(spec: Spec) -> dict[str, Any]:
    with torch.no_grad():
        return REFERENCES[spec["reference"]](spec) if "reference" in spec else run_method(spec)


def run_method(spec: Spec) -> dict[str, Any]:
    """One of our methods as the server calls it: by a Composer, which is made outside the timed part."""
    method = METHODS[spec["method"]]
    whole = {f"client {k}": update(k, spec["blocks"], spec["input"]) for k in range(spec["clients"])}
    extras = {name: statistics(set(method.needs), k, spec["blocks"]) for k, name in enumerate(whole)}
    point = {"merge": {"method": method.name, **spec["options"]}, "rank": spec["rank"]}

    def fresh(blocks: int) -> Callable[[], Update]:
        layers = peers.layer_shapes(blocks)
        composer = Composer(
            {name: Update({layer: one[layer] for layer in layers}) for name, one in whole.items()},
            counts=dict(zip(whole, peers.COUNTS, strict=False)),
            gradients=lambda point, name: extras[name],
            statistics=lambda point, name: extras[name],
            judge=lambda point: SimpleNamespace(root=lambda update: extras["client 0"]),
        )
        return lambda: composer.merge(point)

    timed = spec["blocks"]
    if timed > 1 and seconds_of(fresh(1)) * timed > WHOLE:
        timed = 1
    numbers, merged = peers.measure(lambda: fresh(timed), spec["repeats"], spec["budget"])
    numbers["seconds"] *= spec["blocks"] / timed
    ranks = [entry.A.shape[0] for entry in merged.values() if isinstance(entry, Factors)]
    kind = "dense" if not ranks else f"factors, rank {max(ranks)}" if len(ranks) == len(merged) else "mixed"
    return numbers | {"timed": timed, "result": kind, "sample": peers.sample(merged)}


def update(client: int, blocks: int, given: str) -> Update:
    """One client's adapter as a server receives it, or its dense deltas."""
    if given == "dense":
        return Update(peers.deltas(client, blocks))
    pairs = peers.factors(client, blocks)
    return Update({layer: Factors(A, peers.SCALING * B) for layer, (A, B) in pairs.items()})


def statistics(needs: set[str], client: int, blocks: int) -> dict[str, Tensor]:
    """Synthetic tensors for what a method needs of one client, under the names that a Composer looks for."""
    made = {}
    for layer, shape in peers.layer_shapes(blocks).items():
        if "grams" in needs:
            made[f"{layer}/gram"] = peers.gram(client, shape[1])
        if "fisher" in needs:
            made[f"{layer}/fisher"] = peers.fisher(client, shape)
        if needs & {"gradients", "root"}:
            made[layer] = peers.gradient(client, shape)
    return made


def seconds_of(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def floor(spec: Spec) -> dict[str, Any]:
    """Bytes per second of a copy between warm arrays, read and write counted, and of a write to new memory."""
    size = 2**28
    source, target = torch.ones(size // 4), torch.ones(size // 4)
    copy = min(seconds_of(lambda: target.copy_(source)) for _ in range(9))
    new = min(seconds_of(lambda: torch.ones(size // 4)) for _ in range(9))
    return {"copy": 2 * size / copy, "new": size / new}


def plain_dense(spec: Spec) -> dict[str, Any]:
    """The least that torch does about dense deltas: add them up."""
    first, second, *others = [peers.deltas(k, spec["blocks"]) for k in range(spec["clients"])]

    def call() -> dict[str, Tensor]:
        merged = {layer: first[layer] + second[layer] for layer in first}
        for layer, total in merged.items():
            for one in others:
                total += one[layer]
        return merged

    numbers, _ = peers.measure(lambda: call, spec["repeats"], spec["budget"])
    return numbers | {"timed": spec["blocks"], "result": "dense"}


def plain_factors(spec: Spec) -> dict[str, Any]:
    """The least that torch does for a dense result of factors: one product per layer."""
    clients = [update(k, spec["blocks"], "factors") for k in range(spec["clients"])]

    def stacked(side: str, layer: str, dim: int) -> Tensor:
        return torch.cat([getattr(one[layer], side) for one in clients], dim)

    def call() -> dict[str, Tensor]:
        return {layer: stacked("B", layer, 1) @ stacked("A", layer, 0) for layer in clients[0]}

    numbers, _ = peers.measure(lambda: call, spec["repeats"], spec["budget"])
    return numbers | {"timed": spec["blocks"], "result": "dense"}


REFERENCES = {"floor": floor, "plain torch: sum of deltas": plain_dense, "plain torch: stacked B · A": plain_factors}


# Which rows there are


def specs_of(only: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of our methods, by default and with the options of the peers' calls; and why there is none for others."""
    specs, missing = [], {}
    for name, method in METHODS.items():
        calls = [call for call in peers.CALLS if call.method == name]
        if only and name not in only and not {call.name for call in calls} & set(only):
            continue
        if "anchors" in method.needs:
            missing[name] = "it asks the anchors, so its time is the backbone's"
            continue
        for given in ("factors", "dense"):
            if given == "dense" and method.space == "factors":
                missing[f"{name} from dense"] = "it merges factors"
                continue
            seen = []
            for call in [None, *(call for call in calls if call.input == given)]:
                options, rank = (dict(call.options), call.rank) if call else ({}, None)
                parsed = parsed_options(name, options)
                if parsed is not None and (parsed, rank) not in seen:
                    seen.append((parsed, rank))
                    clients = next(k for k in (4, 2, 7) if not (method.check and method.check(k, parsed)))
                    row = {"method": name, "options": options, "rank": rank, "input": given, "clients": clients}
                    specs.append(row)
    for call in peers.CALLS:
        if call.method not in METHODS or parsed_options(call.method, call.options) is None:
            missing[call.name] = f"we have no {call.method} with the options {dict(call.options)}"
    return specs, missing


def parsed_options(method: str, options: Spec) -> Any:
    """The options of one of our methods, or None where it does not take them."""
    try:
        return parse(METHODS[method].options, options, method)
    except SapError:
        return None


def same(spec: Spec, call: peers.Call) -> bool:
    """Whether the call computes what the row does: this method, these options, from the same kind of input."""
    if (spec["method"], spec["input"], spec["rank"]) != (call.method, call.input, call.rank):
        return False
    return parsed_options(call.method, spec["options"]) == parsed_options(call.method, call.options)


class Runner:
    """Runs rows, each in a process, and keeps what they found in a file of JSON lines, if there is one."""

    def __init__(self, peers_python: str | None, threads: int, output: Path | None) -> None:
        self.peers_python, self.threads, self.output = peers_python, threads, output
        lines = output.read_text(encoding="utf-8").splitlines() if output and output.exists() else []
        self._found = {line["row"]: line["found"] for line in map(json.loads, lines)}
        self.errors: dict[str, str] = {}

    def __call__(self, spec: Spec) -> dict[str, Any] | None:
        """What the row found, from the file if it ran before; None if it failed, see `errors`."""
        row = json.dumps(
            {**spec, "threads": self.threads, "repeats": REPEATS, "budget": SECONDS}, sort_keys=True, ensure_ascii=False
        )
        if row not in self._found:
            start = time.perf_counter()
            found = self._run("call" in spec, row)
            print(f"{time.perf_counter() - start:6.1f} s  {row}", file=sys.stderr, flush=True)
            if found is None:
                return None
            self._found[row] = found
            if self.output:
                with self.output.open("a") as file:
                    print(json.dumps({"row": row, "found": found}), file=file)
        return self._found[row]

    def _run(self, is_peer: bool, row: str) -> dict[str, Any] | None:
        command = [self.peers_python, peers.__file__, row] if is_peer else [sys.executable, __file__, "--row", row]
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(self.threads))
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.errors[row] = f"took longer than {LIMIT} s"
            return None
        if done.returncode:
            self.errors[row] = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return None
        return json.loads(done.stdout.splitlines()[-1])


# The table

OURS = ["method", "from", "result", "s", "n", "peak MiB", "+ MiB", "× floor"]
THEIRS = ["peer", "peer s", "peer n", "peer peak MiB", "peer + MiB", "peer s / ours", "differs by"]


def main(arguments: argparse.Namespace) -> None:
    specs, missing = specs_of(arguments.only)
    runner = Runner(arguments.peers, arguments.threads, arguments.output)
    blocks = arguments.blocks
    nbytes = 4 * sum(m * n for m, n in peers.layer_shapes(blocks).values())  # of one dense model
    speed = runner({"reference": "floor"})
    floors = {
        "floor: 4 deltas read, 1 written to warm memory": 5 * nbytes / speed["copy"],
        "floor: 4 deltas read, 1 written to new memory": 4 * nbytes / speed["copy"] + nbytes / speed["new"],
    }
    limit = list(floors.values())[1]
    rows = [[name, "dense", "dense", number(seconds)] for name, seconds in floors.items()]
    for name, given in (("plain torch: sum of deltas", "dense"), ("plain torch: stacked B · A", "factors")):
        found = runner({"reference": name, "blocks": blocks, "clients": 4})
        rows.append([name, given, *our_cells(found, blocks, limit if given == "dense" else None)])
    for spec in specs:
        found = runner({**spec, "blocks": blocks})
        row = [title(spec), spec["input"], *our_cells(found, blocks, limit if is_dense(spec) else None)]
        calls = [call for call in peers.CALLS if arguments.peers and same(spec, call)]
        for call in calls or [None]:
            if call:
                timed = {"call": call.name, "blocks": min(call.blocks, blocks), "of": blocks}
                row += their_cells(call, runner(timed | {"clients": spec["clients"]}), found, blocks)
            rows.append(row)
            row = [""] * len(OURS)  # for a further peer
    headers = OURS + THEIRS * bool(arguments.peers)
    print(f"{blocks} blocks, {nbytes // 4:,} dense entries, 4 clients of rank {peers.RANK}, float32, ", end="")
    print(f"{arguments.threads} thread(s) of {machine()}, {peers.versions('torch')}; ", end="")
    print(f"copy {speed['copy'] / 1e9:.1f} GB/s, new memory {speed['new'] / 1e9:.1f} GB/s.\n")
    print(tabulate([row + [""] * (len(headers) - len(row)) for row in rows], headers, "github", disable_numparse=True))
    print()
    for name, reason in (missing | runner.errors).items():
        print(f"Not measured: {name}: {reason}.")
    if not arguments.peers:
        print("The peers are absent. Name their interpreter with --peers, see benchmarks/README.md.")


def title(spec: Spec) -> str:
    settings = [f"{name} {value}" for name, value in spec["options"].items()]
    if spec["rank"]:
        settings.append(f"cut to rank {spec['rank']}")
    if spec["clients"] != 4:
        settings.append(f"{spec['clients']} clients")
    return ", ".join([spec["method"], *settings])


def is_dense(spec: Spec) -> bool:
    return spec["input"] == "dense" and spec["clients"] == 4


def our_cells(found: dict[str, Any] | None, blocks: int, limit: float | None) -> list[str]:
    if not found:
        return ["failed", *[""] * 5]
    above = number(found["seconds"] / limit) if limit and found["result"] == "dense" else ""
    return [found["result"], *measured(found, blocks), above]


def their_cells(call: peers.Call, found: dict[str, Any] | None, mine: dict[str, Any] | None, blocks: int) -> list[str]:
    if not found:
        return [call.name, "failed", *[""] * 5]
    compared = [""] * 2
    if mine:
        compared = [number(found["seconds"] / call.part / mine["seconds"]), difference(mine["sample"], found["sample"])]
    part = f" ({call.part:.0%} of the steps timed)" * (call.part < 1)
    scaled = found | {"seconds": found["seconds"] / call.part}
    return [call.name + part, *measured(scaled, blocks), *compared]


def measured(found: dict[str, Any], blocks: int) -> list[str]:
    """Seconds, repeats, peak and increase; what was timed on fewer blocks says so, and held less than it would."""
    part = found["timed"] < blocks
    seconds = number(found["seconds"]) + f" ({found['timed']} of {blocks})" * part
    return [seconds, str(found["n"]), f"{found['peak']:.0f}", "≥ " * part + f"{found['increase']:.0f}"]


def difference(a: list[float], b: list[float]) -> str:
    """Relative distance of the sampled entries up to one scale, and that scale if it is not 1."""
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    scale = float(x @ y / (x @ x)) if x.any() else 1.0
    distance = float((scale * x - y).norm() / y.norm()) if y.any() else float(x.norm())
    return f"{distance:.0e}" + f", scale {scale:.3g}" * (distance < 0.1 and abs(scale - 1) > 1e-3)


def number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="the interpreter of the peers' environment")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="our methods, or peers' calls")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=peers.BLOCKS, help="fewer for a quick look")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON lines, a row each; rows that it has are kept")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_args()
    peers.answer(json.loads(given.row), run) if given.row else main(given)
