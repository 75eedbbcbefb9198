"""The whole plan of one experiment: which artifacts exist, under which ids, made from which settings.

A factor enters an id at the first stage that reads it and at no earlier one, so that changing a
server-side setting leaves the ids of the trainings alone, and changing a training setting makes new
ids beside the old ones. The rules ask here for paths, settings and inputs; nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sap.errors import SapError
from sap.io import canonical
from sap.plan.asked import Asked
from sap.plan.backbones import files_of, input_of
from sap.plan.checks import check_training
from sap.plan.datasets import captions_of
from sap.plan.fields import (
    anchors_fields,
    backbone_fields,
    classes_fields,
    data_fields,
)
from sap.plan.ids import make_id
from sap.plan.points import Gradient, Measured
from sap.plan.settings import load_settings
from sap.plan.trainees import NOBODY


@dataclass(frozen=True, eq=False)  # two studies are equal when they are the same: plans are kept per study
class Study(Asked):
    """One experiment. `settings` is the resolved config; see `build_study`."""

    settings: Mapping[str, Any]
    registry: dict[tuple[str, ...], Mapping[str, Any]] = field(default_factory=dict)

    # --- who and where -----------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.settings["experiment"]

    @property
    def domains(self) -> list[str]:
        return self.settings["data"]["domains"]

    @property
    def targets(self) -> list[str]:
        return list(self.settings["evaluate"]["targets"] or self.domains)

    @property
    def folds(self) -> list[str]:
        """The targets, and NOBODY where any point asks to be judged with every domain as a client."""
        return [*self.targets, *([NOBODY] if self.in_view("everyone") else [])]

    @property
    def seeds(self) -> list[int]:
        return self.settings["seeds"]

    @property
    def audited_seeds(self) -> list[int]:
        """One seed: what a merge does hardly depends on it."""
        return self.seeds[:1]

    def anchors_behind(self, saliency_id: str) -> str:
        """Folder of the anchors that a saliency id was computed on."""
        for gradient in self.gradients:
            if self.saliency_id(gradient) == saliency_id:
                return self.anchors_folder(gradient[2])
        raise SapError(f"score_client: {saliency_id} is no saliency id of this config.")

    # --- ids, in the order of the stages -----------------------------------------------------

    @cached_property
    def input(self) -> dict[str, Any]:
        return input_of(self.settings)

    @cached_property
    def data_id(self) -> str:
        return self._register("prepare_domain", self.settings["data"]["name"], data_fields(self.settings, self.input))

    @cached_property
    def backbone_id(self) -> str:
        backbone = self.settings["backbone"]
        named = backbone["model"] or (backbone["checkpoint"] or "").rstrip("/").split("/")[-1]
        slug = "scratch" if backbone["kind"] == "scratch" else named
        return self._register("prepare_backbone", slug, backbone_fields(self.settings, self.input))

    @cached_property
    def classes_id(self) -> str:
        name, fields = self.settings["data"]["name"], classes_fields(self.settings)
        return self._register("embed_classes", name, fields, backbone=self.backbone_id)

    def anchors_id(self, draw: int) -> str:
        slug = f"{self.settings['anchors']['source']}-{draw}"
        fields = anchors_fields(self.settings, self.input, draw)
        return self._register("draw_anchors", slug, fields, backbone=self.backbone_id)

    def saliency_id(self, gradient: Gradient) -> str:
        alignment, reduction, draw = gradient
        fields = {"alignment": alignment, "reduction": reduction, "sizes": sorted(self.settings["anchors"]["sizes"])}
        return self._register("score_client", f"{alignment}-{draw}", fields, anchors=self.anchors_id(draw))

    def measure_id(self, measured: Measured) -> str:
        kind, source = measured
        images = self.settings["statistics"]["images"]
        fields = {"kind": kind, "source": source, "images": images}
        chain = {} if source == "client" else {"anchors": self.anchors_id(0)}
        return self._register("measure", f"{kind}-{source}", fields, classes=self.classes_id, **chain)

    @cached_property
    def diagnose_id(self) -> str:
        fields = {"size": max(self.settings["anchors"]["sizes"])}
        return self._register(
            "diagnose",
            self.settings["data"]["name"],
            fields,
            clients=[[client.name, client.train_id] for client in self.clients],
            saliency=self.saliency_id(self.diagnosed),
        )

    @cached_property
    def headroom_id(self) -> str:
        fields = {"precision": self.settings["evaluate"]["precision"], "images": self.settings["evidence"]["images"]}
        chain = {"data": self.data_id, "classes": self.classes_id, "cohort": self.cohort_id}
        return self._register("headroom", self.settings["data"]["name"], fields, **chain)

    @cached_property
    def probe_id(self) -> str:
        fields = {"images": self.settings["evidence"]["images"], "points": [p.id for p in self.in_view("probe")]}
        return self._register("probe", self.settings["data"]["name"], fields, cohort=self.cohort_id)

    @cached_property
    def privacy_id(self) -> str:
        fields = {"images": self.settings["evidence"]["images"], "points": [p.id for p in self.in_view("privacy")]}
        return self._register("privacy", self.settings["data"]["name"], fields, cohort=self.cohort_id)

    @cached_property
    def towers_id(self) -> str:
        clients = [[client.name, client.train_id] for client in self.both_towers]
        return self._register("compare_towers", self.settings["data"]["name"], {}, clients=clients)

    @cached_property
    def masks_id(self) -> str:
        fields = {"sizes": self.settings["anchors"]["sizes"], "ratios": self.settings["evidence"]["mask_ratios"]}
        clients = [[client.name, client.train_id] for client in self.clients]
        saliency = [self.saliency_id(gradient) for gradient in self.compared]
        return self._register(
            "compare_masks", self.settings["data"]["name"], fields, clients=clients, saliency=saliency
        )

    @cached_property
    def cohort_id(self) -> str:
        fields = {"precision": self.settings["evaluate"]["precision"]}
        return self._register(
            "evaluate",
            self.settings["data"]["name"],
            fields,
            clients=[[client.name, client.train_id] for client in self.clients],
            domains=self.domains,
            data=self.data_id,
            classes=self.classes_id,
        )

    def settings_of(self, stage: str, *key: str) -> str:
        """Canonical JSON of what `stage` reads for this id; an id that the config does not make is an error."""
        if (stage, *key) not in self.registry:
            raise SapError(
                f"{stage}: {'/'.join(key)} is no id of this config. results/index.csv says what an id stands for; "
                "give the config file that makes it with --configfile."
            )
        return canonical(self.registry[(stage, *key)])

    # --- internals ---------------------------------------------------------------------------

    def _register(self, stage: str, slug: str, fields: Mapping[str, Any], **chain: Any) -> str:
        identity = make_id(slug, {"fields": fields, **chain})
        self.registry[(stage, identity)] = fields
        return identity


def build_study(config: Mapping[str, Any]) -> Study:
    """Check a config (as Snakemake reads it) and plan its experiment; raises SapError for what is wrong."""
    study = Study(load_settings(config))
    _ = files_of(study.settings["backbone"]), captions_of(study.settings["anchors"])  # before anything reads them
    check_training(study.settings)
    for draw in dict.fromkeys(gradient[2] for gradient in study.gradients):
        study.anchors_id(draw)
    for gradient in study.gradients:
        study.saliency_id(gradient)
    _ = study.trainees, study.cohort_id, study.diagnose_id, study.headroom_id, study.probe_id, study.privacy_id
    _ = study.towers_id, study.masks_id
    return study
