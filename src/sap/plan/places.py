"""Where the artifacts of a study lie: one folder per id, and below it one per client, target or seed."""

import os
from collections.abc import Sequence

from sap.errors import SapError
from sap.io import canonical, digest
from sap.plan.points import Gradient
from sap.plan.trainees import RESULTS, Trainee


def inputs_of(files: Sequence[str]) -> list[str]:
    """Those of a user's files that can be inputs of a rule: Snakemake reads braces as a wildcard, and has no escape."""
    return [file for file in files if "{" not in file]


def stamp_of(files: Sequence[str]) -> str:
    """Stands for the files that `inputs_of` leaves out: another text when one changes size or date; "" without any."""
    watched = [file for file in files if "{" in file]
    try:
        found = [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in watched]
    except OSError as error:
        raise SapError(f"{error.filename} cannot be read ({error.strerror}). Put the file there.") from error
    return f"watched-{digest(canonical(found))}" if found else ""


class Places:
    """Folders by the ids that `sap.plan.study.Study` makes."""

    def data_folder(self, domain: str) -> str:
        return f"{RESULTS}/data/{self.data_id}/{domain}"

    @property
    def backbone_folder(self) -> str:
        return f"{RESULTS}/backbones/{self.backbone_id}"

    @property
    def classes_folder(self) -> str:
        return f"{RESULTS}/classes/{self.classes_id}"

    def anchors_folder(self, draw: int) -> str:
        return f"{RESULTS}/anchors/{self.anchors_id(draw)}"

    def saliency_folder(self, gradient: Gradient, client: Trainee, seed: int) -> str:
        return f"{RESULTS}/saliency/{self.saliency_id(gradient)}/{client.train_id}/{client.name}/seed-{seed}"

    def measure_folder(self, measure_id: str, client: Trainee, seed: int) -> str:
        return f"{RESULTS}/measure/{measure_id}/{client.train_id}/{client.name}/seed-{seed}"

    def audit_folder(self, target: str, seed: int) -> str:
        return f"{RESULTS}/audit/{self.cohort_id}/{target}/seed-{seed}"

    def headroom_folder(self, domain: str, seed: int) -> str:
        return f"{RESULTS}/headroom/{self.headroom_id}/{domain}/seed-{seed}"

    def probe_folder(self, seed: int) -> str:
        return f"{RESULTS}/probe/{self.probe_id}/seed-{seed}"

    def privacy_folder(self, seed: int) -> str:
        return f"{RESULTS}/privacy/{self.privacy_id}/seed-{seed}"

    def towers_folder(self, seed: int) -> str:
        return f"{RESULTS}/compare_towers/{self.towers_id}/seed-{seed}"

    def masks_folder(self, seed: int) -> str:
        return f"{RESULTS}/compare_masks/{self.masks_id}/seed-{seed}"

    def diagnose_folder(self, seed: int) -> str:
        return f"{RESULTS}/diagnose/{self.diagnose_id}/seed-{seed}"

    def shard_folder(self, target: str, seed: int, shard: int) -> str:
        return f"{RESULTS}/evaluate/{self.cohort_id}/{target}/seed-{seed}/shard-{shard}"

    def prune_folder(self, point: str, client: str, seed: int) -> str:
        return f"{RESULTS}/prune/{self.cohort_id}/{point}/{client}/seed-{seed}"

    def merge_folder(self, point: str, target: str, seed: int) -> str:
        return f"{RESULTS}/merge/{self.cohort_id}/{point}/{target}/seed-{seed}"
