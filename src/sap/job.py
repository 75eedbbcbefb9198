"""How every job of the pipeline is called (`--plan FILE --code FINGERPRINT --out FOLDER`) and ends: meta.json."""

import argparse
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sap.devices import claim_device
from sap.plans import UPLOAD, read_plan
from sap.provenance import Clock, save_meta

P = TypeVar("P")


def job_parser(doc: str | None) -> argparse.ArgumentParser:
    """The command line that all jobs share; `doc` is the script's docstring, its --help."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--plan", required=True, help="what the job reads: results/plans/STAGE-*.json")
    parser.add_argument("--code", default="", help="fingerprint of the stage's code, for meta.json")
    parser.add_argument("--out", type=Path, required=True, help="the job's folder, results/STAGE/ID/JOB")
    return parser


class Task:
    """A job while it runs. Made first: its clock is what meta.json calls seconds."""

    def __init__(self, stage: str, args: argparse.Namespace) -> None:
        self.out = Path(args.out)
        self.upload = self.out / UPLOAD  # what a client hands over
        self.code: str = args.code
        self._stage, self._plan, self._clock = stage, args.plan, Clock()

    def plan(self, kind: type[P]) -> P:
        """The plan that the job was given; SapError where it is damaged or of another kind."""
        return read_plan(self._plan, kind)

    @cached_property
    def device(self) -> str:
        """Takes a slot of a device, for as long as the process lives. To be asked before torch is imported."""
        name, self._slot = claim_device()
        return name

    def finish(self, settings: Mapping[str, Any], inputs: Mapping[str, str | Path], **facts: Any) -> None:
        """Write meta.json, the last of the job's files; arguments as `sap.provenance.Clock.meta`."""
        save_meta(self.out, self.meta(settings, inputs, **facts))

    def meta(self, settings: Mapping[str, Any], inputs: Mapping[str, str | Path], **facts: Any) -> dict[str, Any]:
        """What `finish` writes."""
        device = self.__dict__.get("device", "cpu")  # a job that never asked for one ran on the CPU
        return self._clock.meta(self._stage, settings, inputs, self.code, device, **facts)
