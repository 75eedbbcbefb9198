"""What a sweep costs beside its forward passes: wall time of the real `evaluate` job over the bare passes it needs.

    python benchmarks/evaluation.py digits --study FOLDER --points 200 2000      FOLDER holds results/ of a finished run
    python benchmarks/evaluation.py vit --points 36                              ViT-B/32, 256 images, 4 clients, rank 8

The floor is the same images through the same model in the same batches and precision, as often as the sweep needs
them, with nothing else: the pixels lie ready in float32. It is measured in the same process, half of it before the
sweep and half after it. The sweep is `main` of workflow/scripts/evaluate.py without its imports: keys, loading, scores,
cuts, masks, merges, W0 + ΔW and back, predictions, rows, files. The points are criteria × rescales × merges × ρ. One
process per point, which is what most tools do, is extrapolated from ten of them.
"""

import argparse
import itertools
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from sap.cli import keep_freed_memory, run
from sap.compose import Composer
from sap.evaluate import load
from sap.evaluate.rows import Judged, RowStore
from sap.evaluate.runner import Judge
from sap.io import canonical, digest, write_json
from sap.plan.points import expand
from sap.plan.schema import schema
from sap.plan.settings import load_settings
from sap.plans import FoldPlan, PointPlan, as_json, read_plan
from sap.update import Update

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "workflow" / "scripts" / "evaluate.py"


def sweep_points(count: int, saliency: str, anchor_size: int) -> list[PointPlan]:
    """`count` points of a plan: two criteria × two rescales × two merges × as many ρ as needed."""
    ratios = -(-count // 8)
    block = {
        "views": ["sweep"],
        "criterion": ["taylor_absolute", "magnitude"],
        "rescale": ["none", "frobenius"],
        "merge": ["mean", "ties"],
        "prune_ratio": [round((i + 1) / (ratios + 1), 6) for i in range(ratios)],
        "anchor_size": anchor_size,
    }
    # As the workflow reads a config: whatever field a point gets next has its default here, too.
    blocks = load_settings({"points": [block], "anchors": {"sizes": [anchor_size]}})["points"]
    points = expand(blocks, schema()["$defs"], lambda _: saliency, lambda _: "", clients=["any"])
    return [PointPlan(id=p.id, settings=dict(p.settings), reads=("merge",)) for p in points[:count]]


def stored(plan: FoldPlan, folder: Path) -> Path:
    plain = as_json(plan)
    path = folder / f"plan-{digest(canonical(plain))}.json"
    write_json(path, plain)
    return path


class Parts:
    """Seconds that the sweep spends in its parts, by wrapping the functions that do them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, part: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def wrap(self, owner: object, name: str, part: str) -> None:
        function = getattr(owner, name)

        def wrapped(*args, **kwargs):
            with self.timed(part):
                return function(*args, **kwargs)

        setattr(owner, name, wrapped)

    def wrap_apply(self) -> None:
        applied = Update.applied

        @contextmanager
        def wrapped(update, model):
            manager = applied(update, model)
            with self.timed("apply, restore"):
                manager.__enter__()
            try:
                yield model
            finally:
                with self.timed("apply, restore"):
                    manager.__exit__(None, None, None)

        Update.applied = wrapped


def measure(plan: FoldPlan, count: int, folder: Path, batch_size: int, threads: int, processes: int) -> list[list]:
    """Rows of the table for one number of points."""
    path = stored(plan, folder)
    judge, tests, _ = load.load_fold(plan, "cpu", batch_size)
    test = tests[Judged(plan.target)]
    starts = range(0, len(test.rows), batch_size)
    batches = [judge.backbone.normalise(test.images[test.rows[start : start + batch_size]]) for start in starts]
    floor = bare(judge, batches, count // 2)
    parts, out = Parts(), folder / f"rows-{count}"
    for owner, name, part in (
        (Composer, "merge", "merge (scores, cuts, masks, sums)"),
        (Judge, "_forward", "forward"),
        (load, "load_fold", "read"),
        (RowStore, "add", "write"),
        (RowStore, "save", "write"),
    ):
        parts.wrap(owner, name, part)
    parts.wrap_apply()
    arguments = ["--plan", str(path), "--batch-size", str(batch_size), "--out", str(out)]
    script = runpy.run_path(str(SCRIPT), run_name="sweep")
    sys.argv = [str(SCRIPT), *arguments]
    start = time.perf_counter()
    run(script["main"], script["parse_args"])
    total = time.perf_counter() - start
    floor += bare(judge, batches, count - count // 2)
    rows = [[f"bare forward passes: {count} × {len(test.rows)} images", floor, 1.0]]
    rows.append([f"sweep of {count} points", total, total / floor])
    rows += [[f"  {part}", seconds, seconds / floor] for part, seconds in parts.seconds.items()]
    rest = total - sum(parts.seconds.values())
    rows.append(["  keys, names, norms, progress", rest, rest / floor])
    alone = one_by_one(plan, folder, batch_size, threads, processes)
    rows.append([f"one process per point (from {len(alone)})", np.mean(alone) * count, np.mean(alone) * count / floor])
    return rows


@torch.inference_mode()
def bare(judge: Judge, batches: list[torch.Tensor], passes: int) -> float:
    """Seconds of so many passes over the images: encode, compare with the texts, nothing else."""
    model, texts = judge.backbone.model, judge.features.T
    enabled = judge.precision == "bfloat16"
    start = time.perf_counter()
    for _, pixels in itertools.product(range(passes), batches):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features = model.encode_image(pixels, normalize=True)
        (judge.logit_scale * features.float() @ texts).numpy()
    return time.perf_counter() - start


def one_by_one(plan: FoldPlan, folder: Path, batch_size: int, threads: int, processes: int) -> list[float]:
    """Seconds of some points in a process of their own."""
    points, seconds = plan.points, []
    for number, point in enumerate(points[:: max(1, len(points) // processes)][:processes]):
        path = stored(replace(plan, points=(point,)), folder)
        command = [sys.executable, str(SCRIPT), "--plan", str(path), "--batch-size", str(batch_size)]
        start = time.perf_counter()
        subprocess.run(
            [*command, "--out", str(folder / f"alone-{number}")],
            check=True,
            capture_output=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "SAP_DEVICE": "cpu"},
        )
        seconds.append(time.perf_counter() - start)
    return seconds


def digits_plan(study: Path) -> tuple[FoldPlan, str, int]:
    """(a plan of the finished study, id of its gradients, anchor size)."""
    os.chdir(study)
    for path in sorted(Path("results/plans").glob("evaluate-*.json")):
        plan = read_plan(path, FoldPlan)
        for saliency in plan.gradients:
            sizes = [p.settings["anchor_size"] for p in plan.points if p.settings.get("saliency") == saliency]
            return plan, saliency, max(sizes)
    sys.exit(f"error: {study}/results/plans holds no evaluation plan with gradients. Run `make run` there first.")


def vit_plan(folder: Path, given: argparse.Namespace) -> tuple[FoldPlan, str, int]:
    """The artifacts of a fold with the shapes of a ViT and random contents."""
    from open_clip import get_model_config

    from sap.clip.checkpoint import build_model, preprocess_of, save_checkpoint
    from sap.data.store import write_images, write_index
    from sap.export import write_adapter
    from sap.factors import Factors
    from sap.io import save_tensors
    from sap.provenance import save_meta

    torch.manual_seed(0)
    config = get_model_config(given.model)
    model = build_model(config, given.model)
    save_checkpoint(folder / "backbone", model, config, preprocess_of({}, config))
    layers = {
        name: tuple(weight.shape)
        for name, weight in model.visual.transformer.named_parameters(prefix="visual.transformer")
        if weight.ndim == 2
    }
    features = torch.nn.functional.normalize(torch.randn(7, config["embed_dim"]), dim=1)
    scale = torch.tensor(100.0)
    save_tensors(folder / "classes/text_features.safetensors", {"features": features, "logit_scale": scale})
    rng = np.random.default_rng(0)
    side, images = config["vision_cfg"]["image_size"], given.images
    made = (rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(images))
    prints = write_images(folder / "target/images.npy", made, side)
    labels = np.arange(images) % 7
    names = [f"class-{label}" for label in range(7)]
    files = [f"{number}.png" for number in range(images)]
    write_index(folder / "target", files, labels, np.full(images, "test"), prints, names, {})
    plan = FoldPlan(
        dataset="random",
        precision=given.precision,
        backbone=str(folder / "backbone"),
        classes=str(folder / "classes"),
        target="target",
        seed=0,
        domains={"target": str(folder / "target")},
        clients={f"client-{k}": str(folder / f"client-{k}") for k in range(given.clients)},
        points=(),
        gradients={"random": {f"client-{k}": str(folder / f"gradients-{k}") for k in range(given.clients)}},
    )
    for k in range(given.clients):
        factors = {
            layer: Factors(torch.randn(8, n) / n**0.5, 0.01 * torch.randn(m, 8)) for layer, (m, n) in layers.items()
        }
        name = f"client-{k}"
        write_adapter(folder / name, Update(factors))
        gradients = {f"16/{layer}": torch.randn(shape) for layer, shape in layers.items()}
        save_tensors(folder / f"gradients-{k}/gradients.safetensors", gradients)
        save_meta(folder / name, {"sample_count": 100})
        save_meta(folder / f"gradients-{k}", {})
    for name in ("backbone", "target"):
        save_meta(folder / name, {})
    save_meta(folder / "classes", {"settings": {"classes": [str(number) for number in range(len(features))]}})
    return plan, "random", 16


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=("digits", "vit"))
    parser.add_argument("--study", type=Path, help="folder with the results/ of a finished run, for digits")
    parser.add_argument("--points", type=int, nargs="+", default=[200])
    parser.add_argument("--model", default="ViT-B-32", help="for vit: an open_clip name; default: ViT-B-32")
    parser.add_argument("--images", type=int, default=256, help="for vit: of a point; default: 256")
    parser.add_argument("--clients", type=int, default=4, help="for vit; default: 4")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="for vit")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=10, help="of one point each, to extrapolate from")
    parser.add_argument("--output", type=Path, help="append the rows here as lines of JSON, too")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as the job does: the floor shall not pay for fresh pages that the sweep does not
    os.environ["SAP_DEVICE"] = "cpu"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shape = digits_plan(args.study) if args.shape == "digits" else vit_plan(folder, args)
        plan, saliency, anchor_size = shape
        for count in args.points:
            points = sweep_points(count, saliency, anchor_size)
            swept = replace(plan, points=tuple(points))
            rows = measure(swept, count, folder, args.batch_size, args.threads, args.processes)
            print(tabulate(rows, headers=["part", "seconds", "× floor"], floatfmt=".2f"), flush=True)
            if args.output:
                with args.output.open("a", encoding="utf-8") as lines:
                    lines.writelines(json.dumps([args.shape, args.precision, count, *row]) + "\n" for row in rows)


if __name__ == "__main__":
    main(parse_args())
