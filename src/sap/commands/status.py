"""Show where an experiment stands: jobs by stage, what runs, the time left, and the main table so far."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path


def parser(make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser) -> argparse.ArgumentParser:
    made = make(description=__doc__)
    made.add_argument("--configfile", nargs="+", default=[], metavar="FILE", help="overlays, as snakemake takes them")
    made.add_argument("--config", "-C", nargs="+", default=[], metavar="KEY=VALUE", help="values, likewise")
    made.add_argument("--watch", type=float, metavar="SECONDS", help="show it again and again until all is done")
    return made


def parse_args() -> argparse.Namespace:
    return parser().parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.pipeline import build_study
    from sap.plan.overlays import read_config
    from sap.plan.reporting import report_plan
    from sap.plan.status import look

    study = build_study(read_config(args.configfile, values=args.config))
    plan = report_plan(study)
    while True:
        seen = look(study.jobs)
        print("\n\n".join(sections(study, plan, seen)), flush=True)
        if args.watch is None or all(entry.state == "done" for entry in seen):
            return
        time.sleep(args.watch)
        print("\n" + "─" * 80 + "\n")


def sections(study, plan, seen) -> list[str]:
    """The parts of what is shown, as texts."""
    from tabulate import tabulate

    from sap.findings.failed import failed_frame
    from sap.findings.main import main_table
    from sap.plan.status import stage_table, sweep_line, time_left, training_lines
    from sap.report.failures import marked
    from sap.report.frame import collect

    train = study.settings["train"]
    table = tabulate([{k: v or "" for k, v in row.items()} for row in stage_table(seen)], headers="keys")
    trainings = training_lines(seen, train["epochs"], train["batch_size"])
    parts = [f"Experiment {study.name}\n\n{table}"]
    parts += ["Trainings\n" + "\n".join(f"  {line}" for line in trainings)] if trainings else []
    parts.append(f"Sweep\n  {sweep_line(seen)}")
    parts.append("Time left\n" + "\n".join(f"  {line}" for line in time_left(seen)))
    if any(entry.points for entry in seen):
        results = collect(plan, Path(), live=True)
        table = marked(main_table(results, controls=False), ("evaluate",), results)
        lines = [line for title, rows in table.sections() for line in ([title.upper()], *rows)]
        numbers = ("right",) * (len(table.columns) - 1)
        failed = [f"  {row['what']} ({row['where']}): {row['sentence']}" for _, row in failed_frame(results).iterrows()]
        parts += ["Failed, tried again by the next run\n" + "\n".join(failed)] if failed else []
        parts.append("Main table so far")
        parts.append(tabulate(lines, table.headers(), disable_numparse=True, colalign=("left", *numbers)))
    else:
        parts.append("Main table so far: no point is judged yet.")
    return parts
