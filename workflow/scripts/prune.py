"""One client's update as a point prunes and rescales it, written to a file for inspection."""

import argparse
from collections import ChainMap
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: one pass over one update, a GPU would only wait
    from sap.compose import Composer, LazyGradients, LazyTensors
    from sap.io import canonical
    from sap.stages.prune.plan import PrunePlan
    from sap.update import load_adapter, save_update

    task = Task("prune", args)
    plan = task.plan(PrunePlan)
    settings, update = plan.point.settings, load_adapter(plan.adapter)
    gradients = plan.gradients and Path(plan.gradients) / "gradients.safetensors"
    reader = gradients and (lambda point, client: LazyGradients(gradients, point["anchor_size"]))
    files = {kind: Path(folder) / "statistics.safetensors" for kind, folder in plan.statistics.items()}
    measured = ChainMap(*(LazyTensors(path) for path in files.values()))
    statistics = lambda point, client: measured  # noqa: E731
    composer = Composer({plan.client: update}, gradients=reader, seed=plan.seed, statistics=statistics)
    pruned = composer.prune(settings, plan.client)
    save_update(task.out / "update.safetensors", pruned, {"settings": canonical(settings)})
    inputs = {"adapter": Path(plan.adapter) / "adapter_model.safetensors"} | files
    if gradients:
        inputs["gradients"] = gradients
    kept = {layer: int((pruned.dense(layer) != 0).sum()) for layer in pruned}
    facts = {"client": plan.client, "seed": plan.seed, "norms": update.norms(), "pruned_norms": pruned.norms()}
    task.finish(settings, inputs, non_zero_entries=kept, **facts)


if __name__ == "__main__":
    run(main, parse_args)
