"""Decode, split and store the images of one domain at the backbone's input size."""

import argparse
import json
from pathlib import Path

from sap.cli import run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--domain", required=True, help="name of the domain: a folder under data.root, or a digits style"
    )
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON object with data, input, classes")
    parser.add_argument("--code", required=True, help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--threads", type=int, default=1, help="images decoded at the same time")
    parser.add_argument("--out", required=True, type=Path, help="folder of the store")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from sap.config import parse
    from sap.data.images import Geometry
    from sap.data.options import DataOptions
    from sap.data.prepare import prepare_domain
    from sap.provenance import Clock, save_meta

    clock = Clock()
    options = parse(DataOptions, args.settings["data"], where="data")
    geometry = Geometry(**args.settings["input"])
    facts = prepare_domain(args.domain, options, geometry, args.settings["classes"], args.out, args.threads)
    save_meta(args.out, clock.meta("prepare_domain", args.settings, {}, args.code, domain=args.domain, **facts))


if __name__ == "__main__":
    run(main, parse_args)
