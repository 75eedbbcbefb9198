"""Who is trained for a study: the clients, both ceilings, and clients that train otherwise: under attack, by a recipe,
with LoRA on both towers."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sap.errors import SapError
from sap.io import canonical
from sap.plan.fields import corruption_fields, trainee_fields
from sap.plan.ids import make_id
from sap.plan.points import Point, both_seeds
from sap.plan.schema import schema
from sap.plan.stage import Identity, Stage, identity
from sap.plan.trainees import Trainee
from sap.plans import parts
from sap.registry import unknown
from sap.setting import PLAIN


class Clients:
    """The trainees of a `sap.plan.study.Study`, and their ids."""

    if TYPE_CHECKING:  # what the study itself knows
        settings: Mapping[str, Any]
        stages: Mapping[str, Stage]

        @property
        def domains(self) -> list[str]: ...
        @property
        def targets(self) -> list[str]: ...
        @property
        def seeds(self) -> list[int]: ...
        @property
        def points(self) -> list[Point]: ...
        def folder(self, stage: str, **place: Any) -> str: ...
        def id(self, stage: str, *what: Any) -> str: ...

    @cached_property
    def clients(self) -> tuple[Trainee, ...]:
        """All clients, ordered by domain, then by their number inside the domain."""
        count = self.settings["partition"]["clients_per_domain"]
        made = []
        for domain in self.domains:
            for index in range(count):
                name = domain if count == 1 else f"{domain}-{index + 1}of{count}"
                parts = ((domain, None if count == 1 else index),)
                made.append(self._trainee(name, parts, corruption_fields(self.settings, name)))
        names = [client.name for client in made]
        for name in self.settings["corruption"]["clients"]:
            if name not in names:
                raise SapError(f"corruption.clients: {unknown('client', name, names)}")
        return tuple(made)

    @property
    def client_ids(self) -> list[list[str]]:
        """[name, id of the training] of every client."""
        return [[client.name, client.train_id] for client in self.clients]

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
        return self._trainee(f"pooled-without-{target}", others, kind="pooled")

    def oracle(self, target: str) -> Trainee:
        """One LoRA on the target's own training images. With one clean client per domain it is that client."""
        return self._trainee(target, ((target, None),), kind="oracle")

    def poisoned(self, attack: Mapping[str, Any], name: str) -> Trainee:
        """A client as an attack on its labels or images makes it train."""
        return self._trainee(name, self.client(name).parts, corruption=attack, kind="poisoned")

    def trained_by(self, recipe: str, name: str) -> Trainee:
        """A client as a recipe trains it; `plain` is the client itself."""
        client = self.client(name)
        if recipe == PLAIN:
            return client
        corruption = corruption_fields(self.settings, name)
        return self._trainee(name, client.parts, corruption, kind="recipe", recipe=recipe)

    def recipe_id(self, recipe: str) -> str:
        """Names a recipe's trainings of all clients."""
        trained = [[client.name, self.trained_by(recipe, client.name).train_id] for client in self.clients]
        return make_id(recipe, {"clients": trained})

    @cached_property
    def both_towers(self) -> tuple[Trainee, ...]:
        """The clients with LoRA on the text tower, too, where the config asks for that comparison."""
        if not self.settings["evidence"]["towers"]:
            return ()
        return tuple(
            self._trainee(c.name, c.parts, corruption_fields(self.settings, c.name), "both", "towers")
            for c in self.clients
        )

    def share_fields(self, trainee: Trainee) -> dict[str, Any]:
        """The fields of every plan that reads a trainee's images (sap.plans.SharePlan)."""
        fields = trainee.identity.fields
        return {
            "trainee": trainee.name,
            "domains": tuple(self.folder("prepare_domain", domain=domain) for domain, _ in trainee.parts),
            "parts": tuple(fields["parts"]),
            "partition": fields["partition"],
            "corruption": fields["corruption"],
        }

    def seeds_of(self, trainee: Trainee) -> list[int]:
        """The seeds at which somebody reads this trainee."""
        asked = self.trainees[trainee]
        return [seed for seed in self.seeds if asked is None or seed in asked]

    @cached_property
    def trainees(self) -> dict[Trainee, frozenset[int] | None]:
        """Everything that is trained for this experiment, each once, and at which seeds; None is all of them."""
        kinds = {*self.settings["evaluate"]["references"], *(k["kind"] for p in self.points for k in parts(p.settings))}
        headroom = self.settings["evidence"]["headroom"]
        wanted = list(self.clients)
        wanted += [self.pooled(target) for target in self.targets if "pooled" in kinds or headroom]
        wanted += [self.oracle(target) for target in self.targets if "oracle" in kinds or headroom]
        wanted += self.both_towers
        found: dict[Trainee, frozenset[int] | None] = dict.fromkeys(wanted)
        for trainee, seeds in self._at_some_seeds():
            found[trainee] = both_seeds(found.get(trainee, frozenset()), seeds)
        return found

    def _at_some_seeds(self) -> Iterator[tuple[Trainee, frozenset[int] | None]]:
        """Who is trained for points that may ask for some seeds alone: poisoned clients, and clients by recipes."""
        for (trainee, _, _), seeds in self._poisoned.items():
            yield trainee, seeds
        for point in self.points:
            for recipe in point.recipes:
                yield from ((self.trained_by(recipe, client.name), point.seeds) for client in self.clients)

    @cached_property
    def _poisoned(self) -> dict[tuple[Trainee, str, str], frozenset[int] | None]:
        """(trainee, client, attack as canonical JSON) -> seeds, for every client that an attack makes train wrongly."""
        found: dict[tuple[Trainee, str, str], frozenset[int] | None] = {}
        for point in self.points:
            if point.attackers and self._acts_on(point) == "labels":
                for name in point.attackers:
                    key = (self.poisoned(point.settings["attack"], name), name, canonical(point.settings["attack"]))
                    found[key] = both_seeds(found.get(key, frozenset()), point.seeds)
        return found

    @property
    def poisoned_clients(self) -> list[tuple[Trainee, str, str]]:
        """(trainee, client, attack as canonical JSON) of every client that an attack makes train wrongly."""
        return list(self._poisoned)

    def _acts_on(self, point: Point) -> str:
        return schema()["$defs"]["attacks"][point.settings["attack"]["kind"]]["acts_on"]

    def _trainee(
        self,
        name: str,
        parts: tuple[tuple[str, int | None], ...],
        corruption: Mapping[str, Any] | None = None,
        towers: str | None = None,
        kind: str = "client",
        recipe: str | None = None,
    ) -> Trainee:
        fields = trainee_fields(self.settings, parts, corruption, towers, recipe)
        # One domain is named by the path already; several must be in the id.
        counted = fields | {"parts": fields["parts"] if len(parts) > 1 else None}
        slug = f"{self.settings['data']['name']}-r{fields['train']['lora']['rank']}"
        made = identity(slug, counted, data=self.id("prepare_domain"), classes=self.id("embed_classes"))
        return Trainee(name, parts, Identity(made.id, fields), kind)
