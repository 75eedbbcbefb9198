"""`sap NAME ...`: the scripts that a person calls, wherever sap is installed. Nothing heavy is imported to parse."""

import argparse
from functools import partial
from importlib import metadata

import argcomplete

from sap.cli import run
from sap.commands import figures, merge, regret, status, tables, unused, why

COMMANDS = (merge, status, why, unused, tables, figures, regret)


def parser() -> argparse.ArgumentParser:
    """That of `sap`, with one of each command below it."""
    whole = argparse.ArgumentParser("sap", description="Merge adapters, look after studies. Each command has --help.")
    whole.add_argument("--version", action="version", version=f"sap {metadata.version('sap')}")
    below = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        one = command.parser(partial(below.add_parser, name, help=command.__doc__))
        one.set_defaults(main=command.main, refuse=one.error)
    return whole


def parse_args() -> argparse.Namespace:
    whole = parser()
    argcomplete.autocomplete(whole)
    args, rest = whole.parse_known_args()
    if "rest" in args:  # of a command that passes on what it does not know
        args.rest = rest
    elif rest:
        args.refuse(f"unrecognized arguments: {' '.join(rest)}")
    return args


def main() -> None:
    run(lambda args: args.main(args), parse_args)
