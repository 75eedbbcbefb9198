"""Merge PEFT adapters of any model, without the model; or, with --plan, one point's clients for the workflow."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.escape import terminal
from sap.plan.choices import FLAGS, list_methods, read_point
from sap.plan.schema import schema
from sap.provenance import Clock, save_meta
from sap.setting import DEFAULTS, FIELDS


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    names = f"Methods: {', '.join(schema()['$defs']['merge'])}. Their options: --list. Examples: docs/merge-tool.md."
    made = make(description=__doc__, epilog=names)
    made.add_argument("adapters", nargs="*", type=Path, metavar="ADAPTER", help="PEFT LoRA folder")
    made.add_argument("--out", type=Path, help="folder for the result and meta.json")
    made.add_argument("--method", default=DEFAULTS["merge"]["method"], help="how to merge; default: %(default)s")
    made.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the method")
    made.add_argument("--weights", nargs="+", type=float, metavar="W", help="sample count or share of each adapter")
    for name in FLAGS:
        made.add_argument(f"--{name.replace('_', '-')}", metavar="X", help=FIELDS[name].help)
    made.add_argument("--as", dest="form", choices=("adapter", "delta", "checkpoint"), default="adapter")
    made.add_argument("--rank", type=int, metavar="R", help="best approximation of the merged update by this rank")
    made.add_argument("--base", type=Path, metavar="CHECKPOINT", help="file or open_clip folder for --as checkpoint")
    made.add_argument("--missing", choices=("refuse", "zero"), default="refuse", help="layers that an adapter lacks")
    made.add_argument("--any-base", action="store_true", help="merge although the configs name different base models")
    made.add_argument("--force", action="store_true", help="overwrite files in --out, delete an earlier merge's")
    made.add_argument("--seed", type=int, default=0, help="decides random masks and random methods")
    made.add_argument("--list", action="store_true", help="print every method with its options, and stop")
    rule = made.add_argument_group("for the workflow's rule")
    rule.add_argument("--plan", help="the point's plan, results/plans/merge-*.json")
    rule.add_argument("--code", default="", help="fingerprint of the code, for Snakemake")
    return made


def parse_args() -> argparse.Namespace:
    return parser().parse_args()


def main(args: argparse.Namespace) -> None:
    if args.list:
        print("\n".join(list_methods()))
    elif args.out is None or bool(args.plan) == bool(args.adapters):
        raise SapError("name the adapters to merge and --out FOLDER; --list shows the methods, --help the rest.")
    elif args.plan:
        merge_plan(args)
    else:
        point = read_point(args.method, args.set, {name: getattr(args, name) for name in FLAGS})
        from sap.mergetool import Request, merge_adapters

        names = ("out", "form", "rank", "base", "missing", "any_base", "force", "seed")
        request = Request(**{name: getattr(args, name) for name in names})
        for line in merge_adapters(args.adapters, args.weights, point, request):
            print(terminal(line))


def merge_plan(args: argparse.Namespace) -> None:
    clock = Clock()
    from sap.evaluate.composer import by_recipe
    from sap.io import canonical
    from sap.plans import FoldPlan, read_plan
    from sap.update import save_update

    plan = read_plan(args.plan, FoldPlan)
    point = plan.points[0]
    update = by_recipe(plan)(point.settings).merge(point.settings)
    card: dict[str, Any] = {"point": point.id, "target": plan.target, "seed": plan.seed, "clients": list(plan.clients)}
    save_update(args.out / "update.safetensors", update, {"settings": canonical(point.settings)})
    inputs = {
        name: f"{folder}/adapter_model.safetensors" for name, folder in plan.trained_by(point.settings).clients.items()
    }
    save_meta(args.out, clock.meta("merge", point.settings, inputs, args.code, norms=update.norms(), **card))
