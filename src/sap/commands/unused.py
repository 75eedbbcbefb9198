"""List what no recorded experiment uses any more under results/; remove it with --delete."""

import argparse
from collections.abc import Callable

from sap.errors import SapError


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    made = make(description=__doc__)
    made.add_argument("--delete", action="store_true", help="remove what is listed; without it nothing is touched")
    made.add_argument("--forget", metavar="NAME", help="drop an experiment's record first, so that its files count")
    return made


def parse_args() -> argparse.Namespace:
    return parser().parse_args()


def main(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from sap.pipeline import stages
    from sap.plan import records
    from sap.plan.differences import read_index
    from sap.plan.unused import describe, find_unused, remove

    if args.forget:
        records.forget(args.forget)
    known = records.experiments()
    if not known and args.delete:
        raise SapError(
            "no experiment is recorded under results/experiments, so everything would count as unused. "
            "Every run that has something to do records its own: snakemake [--configfile FILE]"
        )
    used = {path for experiment in known.values() for path in experiment["uses"]}
    index, found = read_index(), find_unused(used, stages())
    lines = [
        (entry.stage, entry.name, len(entry.paths), _mega(entry), "a job is at work" if entry.busy else "", say)
        for entry in found
        for say in [describe(entry, index, used, stages())]
    ]
    print(f"Recorded experiments: {', '.join(known) or 'none'}")
    if not found:
        print("Everything under results/ is used.")
        return
    print(tabulate(lines, headers=("folder", "id", "paths", "MB", "", "settings beside the nearest that is used")))
    total = sum(entry.bytes for entry in found)
    if not args.delete:
        print(f"{total / 1e6:,.1f} MB that no recorded experiment uses. --delete removes them.")
        return
    for entry in found:
        remove(entry)
    print(f"Removed {sum(entry.bytes for entry in found if not entry.busy) / 1e6:,.1f} MB.")


def _mega(entry) -> str:
    return f"{entry.bytes / 1e6:,.1f}"
