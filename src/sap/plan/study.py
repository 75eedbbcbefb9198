"""The whole plan of one experiment: which artifacts exist, under which ids, made from which settings.

A factor enters an id at the first stage that reads it and at no earlier one, so that changing a
server-side setting leaves the ids of the trainings alone, and changing a training setting makes new
ids beside the old ones. The rules ask here for paths, settings and inputs; nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from sap.errors import SapError
from sap.io import canonical, digest
from sap.plan.backbones import files_of, input_of
from sap.plan.datasets import captions_of
from sap.plan.fields import anchors_fields, backbone_fields, classes_fields, data_fields, trainee_fields
from sap.plan.ids import make_id
from sap.plan.points import Gradient, Measured, Point, expand, references
from sap.plan.settings import load_settings, schema
from sap.plan.trainees import RESULTS, Trainee
from sap.registry import unknown


@dataclass(frozen=True, eq=False)  # two studies are equal when they are the same: plans are kept per study
class Study:
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
    def seeds(self) -> list[int]:
        return self.settings["seeds"]

    @property
    def audited_seeds(self) -> list[int]:
        """One seed: what a merge does hardly depends on it."""
        return self.seeds[:1]

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

    def anchors_behind(self, saliency_id: str) -> str:
        """Folder of the anchors that a saliency id was computed on."""
        for gradient in self.gradients:
            if self.saliency_id(gradient) == saliency_id:
                return self.anchors_folder(gradient[2])
        raise SapError(f"score_client: {saliency_id} is no saliency id of this config.")

    def saliency_folder(self, gradient: Gradient, client: Trainee, seed: int) -> str:
        return f"{RESULTS}/saliency/{self.saliency_id(gradient)}/{client.train_id}/{client.name}/seed-{seed}"

    def measure_folder(self, measure_id: str, client: Trainee, seed: int) -> str:
        return f"{RESULTS}/measure/{measure_id}/{client.train_id}/{client.name}/seed-{seed}"

    def audit_folder(self, target: str, seed: int) -> str:
        return f"{RESULTS}/audit/{self.cohort_id}/{target}/seed-{seed}"

    def diagnose_folder(self, seed: int) -> str:
        return f"{RESULTS}/diagnose/{self.diagnose_id}/seed-{seed}"

    def shard_folder(self, target: str, seed: int, shard: int) -> str:
        return f"{RESULTS}/evaluate/{self.cohort_id}/{target}/seed-{seed}/shard-{shard}"

    def prune_folder(self, point: str, client: str, seed: int) -> str:
        return f"{RESULTS}/prune/{self.cohort_id}/{point}/{client}/seed-{seed}"

    def merge_folder(self, point: str, target: str, seed: int) -> str:
        return f"{RESULTS}/merge/{self.cohort_id}/{point}/{target}/seed-{seed}"

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

    # --- trainees ----------------------------------------------------------------------------

    @cached_property
    def clients(self) -> tuple[Trainee, ...]:
        """All clients, ordered by domain, then by their number inside the domain."""
        count = self.settings["partition"]["clients_per_domain"]
        made = []
        for domain in self.domains:
            for index in range(count):
                name = domain if count == 1 else f"{domain}-{index + 1}of{count}"
                made.append(self._trainee(name, ((domain, None if count == 1 else index),)))
        names = [client.name for client in made]
        for name in self.settings["corruption"]["clients"]:
            if name not in names:
                raise SapError(f"corruption.clients: {unknown('client', name, names)}")
        return tuple(made)

    def client(self, name: str) -> Trainee:
        """The client of this name."""
        for client in self.clients:
            if client.name == name:
                return client
        raise SapError(unknown("client", name, [client.name for client in self.clients]))

    def sources(self, target: str) -> tuple[Trainee, ...]:
        """The clients whose domain is not held out."""
        return tuple(client for client in self.clients if client.parts[0][0] != target)

    def pooled(self, target: str) -> Trainee:
        """One LoRA on all source domains' images: no federation."""
        others = tuple((domain, None) for domain in self.domains if domain != target)
        return self._trainee(f"pooled-without-{target}", others)

    def oracle(self, target: str) -> Trainee:
        """One LoRA on the target's own training images. With one clean client per domain it is that client."""
        return self._trainee(target, ((target, None),), clean=True)

    def trainee(self, train_id: str, name: str) -> Trainee:
        """The trainee behind a path."""
        for trainee in self.trainees:
            if (trainee.train_id, trainee.name) == (train_id, name):
                return trainee
        raise SapError(f"train_client: {train_id}/{name} is no trainee of this config.")

    @cached_property
    def trainees(self) -> tuple[Trainee, ...]:
        """Everything that is trained for this experiment, each once."""
        kinds = self.settings["evaluate"]["references"]
        wanted = list(self.clients)
        wanted += [self.pooled(target) for target in self.targets if "pooled" in kinds]
        wanted += [self.oracle(target) for target in self.targets if "oracle" in kinds]
        return tuple(dict.fromkeys(wanted))

    # --- points ------------------------------------------------------------------------------

    @cached_property
    def points(self) -> list[Point]:
        """Points of the config's blocks, without the references."""
        return expand(self.settings["points"], schema()["$defs"], cache(self.saliency_id), cache(self.measure_id))

    def point(self, point_id: str) -> Point:
        """The point behind a path."""
        if point_id not in self._points_by_id:
            raise SapError(f"{point_id} is no point of this config; results/index.csv says what an id stands for.")
        return self._points_by_id[point_id]

    def fold_points(self, target: str) -> list[Point]:
        """All points judged on one target: references first."""
        kinds = self.settings["evaluate"]["references"]
        return [*references(kinds, [client.name for client in self.sources(target)]), *self.points]

    def shard_points(self, target: str, shard: int) -> list[Point]:
        """A point's shard depends on its id alone: adding points moves none of the others."""
        shards = self.settings["evaluate"]["shards"]
        return [point for point in self.fold_points(target) if int(digest(point.id), 16) % shards == shard]

    @cached_property
    def _points_by_id(self) -> dict[str, Point]:
        return {point.id: point for point in self.points}

    @cached_property
    def gradients(self) -> tuple[Gradient, ...]:
        """Every (alignment, reduction, draw) that some point reads, and the one that the diagnosis shows."""
        asked = [point.gradient for point in self.points if point.gradient]
        return tuple(dict.fromkeys([*asked, self.diagnosed]))

    @cached_property
    def measured(self) -> tuple[Measured, ...]:
        """Every (kind, source) of statistics that some point reads."""
        return tuple(dict.fromkeys(kind for point in self.points for kind in point.measured))

    @property
    def diagnosed(self) -> Gradient:
        return ("cosine", "absolute_of_mean", 0)

    # --- internals ---------------------------------------------------------------------------

    def _register(self, stage: str, slug: str, fields: Mapping[str, Any], **chain: Any) -> str:
        identity = make_id(slug, {"fields": fields, **chain})
        self.registry[(stage, identity)] = fields
        return identity

    def _trainee(self, name: str, parts: tuple[tuple[str, int | None], ...], clean: bool = False) -> Trainee:
        fields = trainee_fields(self.settings, name, parts, clean)
        # One domain is named by the path already; several must be in the id.
        counted = fields | {"parts": fields["parts"] if len(parts) > 1 else None}
        train_id = make_id(
            f"{self.settings['data']['name']}-r{self.settings['train']['lora']['rank']}",
            {"fields": counted, "data": self.data_id, "classes": self.classes_id},
        )
        self.registry[("train_client", train_id, name)] = fields
        return Trainee(name, parts, train_id)


def build_study(config: Mapping[str, Any]) -> Study:
    """Check a config (as Snakemake reads it) and plan its experiment; raises SapError for what is wrong."""
    study = Study(load_settings(config))
    _ = files_of(study.settings["backbone"]), captions_of(study.settings["anchors"])  # before anything reads them
    for draw in dict.fromkeys(gradient[2] for gradient in study.gradients):
        study.anchors_id(draw)
    for gradient in study.gradients:
        study.saliency_id(gradient)
    _ = study.trainees, study.cohort_id, study.diagnose_id
    return study
