"""Say in words what would run, and why: a dry run, and what Snakemake cannot know about ids, code and rows."""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    made = make(description=__doc__, epilog="Anything else goes to snakemake: targets, options.")
    made.add_argument("--configfile", nargs="+", default=[], metavar="FILE", help="overlays, as snakemake takes them")
    made.add_argument("--config", "-C", nargs="+", default=[], metavar="KEY=VALUE", help="values, likewise")
    made.set_defaults(rest=[])
    return made


def parse_args() -> argparse.Namespace:
    args, rest = parser().parse_known_args()
    args.rest = rest
    return args


def main(args: argparse.Namespace) -> None:
    from sap.pipeline import build_study
    from sap.plan.overlays import read_config
    from sap.plan.why import Planned, explain

    study = build_study(read_config(args.configfile, values=args.config))
    overlays = ["--configfile", *args.configfile] if args.configfile else []
    overlays += ["--config", *args.config] if args.config else []
    planned = [
        Planned(record.rule_name, dict(record.wildcards or {}), tuple(map(str, record.output)), record.reason)
        for record in dry_run([*args.rest, "--cores", "1", "--dry-run", *overlays])
        if record.output
    ]
    lines = explain(study, planned) or ["Nothing would run: every file that is asked for is there."]
    print("\n".join(lines))


def dry_run(arguments: list[str]) -> list[Any]:
    """The jobs that snakemake announces, as the records of its log; it stops this script where it fails."""
    from snakemake.cli import main as snakemake
    from snakemake.logging import logger

    announced: list[Any] = []

    def keep(record: logging.LogRecord) -> bool:
        """A filter, because snakemake removes the handlers of others: nothing but errors is shown."""
        if getattr(record, "event", None) == "job_info":
            announced.append(record)
        elif record.levelno >= logging.ERROR:
            print(record.getMessage(), file=sys.stderr)
        return False

    logger.addFilter(keep)
    try:
        snakemake(arguments)
    except SystemExit as ended:
        if ended.code:
            raise
    return announced
