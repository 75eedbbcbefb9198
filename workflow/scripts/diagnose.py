"""Where the clients' updates agree and conflict, and in which layers the saliency lies."""

import argparse
from pathlib import Path

from sap.cli import run
from sap.job import Task, job_parser


def parse_args() -> argparse.Namespace:
    return job_parser(__doc__).parse_args()


def main(args: argparse.Namespace) -> None:
    # no device slot: a few products per layer, a GPU would only wait
    from sap.compose import LazyGradients
    from sap.io import write_csv
    from sap.stages.diagnose.plan import DiagnosePlan
    from sap.stats.agreement import client_agreement, layer_saliency
    from sap.update import check_alike, load_adapter

    task = Task("diagnose", args)
    plan = task.plan(DiagnosePlan)
    updates = {name: load_adapter(folder) for name, folder in plan.clients.items()}
    check_alike(updates)
    columns = ["seed", "layer", "client_a", "client_b", "cosine", "sign_conflict", "weighted_conflict", "angle"]
    rows = [{"seed": plan.seed, **row} for row in client_agreement(updates)]
    write_csv(task.out / "agreement.csv", rows, columns)

    rows = []
    scored = {name: Path(folder) / "gradients.safetensors" for name, folder in plan.gradients.items()}
    for name, path in scored.items():
        gradients = LazyGradients(path, plan.size)
        signed = gradients.notes.get("reduction") != "mean_of_absolute"
        saliency = layer_saliency(updates[name], gradients, signed)
        rows += [{"seed": plan.seed, "client": name, **row} for row in saliency]
    columns = ["seed", "client", "layer", "entries", "delta_norm", "gradient_norm", "score_share", "predicted_change"]
    write_csv(task.out / "saliency.csv", rows, columns)
    inputs = {f"adapter {n}": Path(folder) / "adapter_model.safetensors" for n, folder in plan.clients.items()}
    inputs |= {f"gradients {name}": path for name, path in scored.items()}
    task.finish({"size": plan.size}, inputs, seed=plan.seed)


if __name__ == "__main__":
    run(main, parse_args)
