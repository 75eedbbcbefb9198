"""What is asked of a study: the points of its blocks, by view, fold, shard and seed, and what they read together."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property, partial

from sap.errors import SapError
from sap.io import digest
from sap.plan.blocks import Block, shipped_blocks
from sap.plan.clients import Clients
from sap.plan.points import Gradient, Point, Statistic, attacked_clients, expand, references
from sap.plan.refusals import check_patches, refusal
from sap.plan.schema import schema
from sap.plan.stage import MERGED
from sap.plan.trainees import NOBODY
from sap.plans import parts
from sap.registry import unknown


class Asked(Clients):
    """The points of a `sap.plan.study.Study`."""

    @property
    def points(self) -> list[Point]:
        """Points of the config's blocks, without the references and without what is left out."""
        return self._sorted_out[0]

    @property
    def left_out(self) -> list[tuple[Point, str]]:
        """Rows of the shipped config that this study cannot have, and why: one sentence each."""
        return self._sorted_out[1]

    @cached_property
    def _sorted_out(self) -> tuple[list[Point], list[tuple[Point, str]]]:
        """(points, those left out); SapError for one that no fold could merge and that the user's config names."""
        names = [client.name for client in self.clients]
        blocks, known = self.settings["points"], schema()["$defs"]
        there = {target: [client.name for client in self.sources(target)] for target in (*self.targets, NOBODY)}

        def points_of(chosen: Mapping[str, Block]) -> list[Point]:
            saliency, measured = (cache(partial(self.id, stage)) for stage in ("score_client", "measure"))
            return expand(chosen, known, saliency, measured, names, cache(self.recipe_id))

        points, left_out = list[Point](), list[tuple[Point, str]]()
        for point in points_of(blocks):
            for name in point.attackers:
                if name not in names:
                    raise SapError(f"attackers of points: {unknown('client', name, names)}")
            folds = {target: there[target] for target in self._folds_of(point)}
            reason = refusal(point.settings, folds, known)
            if reason is None:
                points.append(point)
            else:
                left_out.append((point, reason))
        points = [self._as_candidate(point) for point in points]
        for point, reason in left_out:
            for where, block in blocks.items():
                if block not in shipped_blocks() and point.id in {other.id for other in points_of({where: block})}:
                    raise SapError(f"{where} ({point.label}): {reason}")
        check_patches(points)
        return points, [(point, reason) for point, reason in left_out if point.views != ("control",)]

    def _as_candidate(self, point: Point) -> Point:
        """The point, with `selection` among what it is judged on where a view of it names candidates."""
        named = set(self.settings["evaluate"]["candidates"]) & set(point.views)
        if not named or not _of_clients(point) or not self.settings["data"]["split"]["val"]:
            return point
        return replace(point, judged_on=tuple(dict.fromkeys((*point.judged_on, "selection"))))

    def left_one_out(self, point: Point) -> bool:
        """Whether a point that is judged for a selection can be merged without the clients of any one source domain."""
        if "selection" not in point.judged_on or not _of_clients(point):
            return False
        known = schema()["$defs"]
        return all(all(fold.values()) and not refusal(point.settings, fold, known) for fold in self._folds_without_two)

    @cached_property
    def _folds_without_two(self) -> list[dict[str, list[str]]]:
        """The clients of every fold without those of one more domain: {target: names} each."""
        return [
            {target: [client.name for client in self.sources(target) if client.parts[0][0] != domain]}
            for target in self.targets
            for domain in self.domains
            if domain != target
        ]

    def _folds_of(self, point: Point) -> list[str]:
        """The folds in which a job merges the point's clients, NOBODY for that in which every domain has one."""
        held_out = [target for target in self.targets if point.judged and self._meets(point, target)]
        merged = "everyone" in point.judged_on or any(self.stages[name].takes == MERGED for name in point.stages)
        return held_out + ([NOBODY] if merged else [])

    def _meets(self, point: Point, target: str) -> bool:
        """Whether all attackers of a point, if any, are clients where this target is held out."""
        return set(point.attackers) <= {client.name for client in self.sources(target)}

    def in_view(self, view: str) -> list[Point]:
        """The points of one view."""
        return [point for point in self.points if view in point.views]

    @property
    def with_everyone(self) -> list[Point]:
        """The points that are judged where every domain has a client, too."""
        return [point for point in self.points if "everyone" in point.judged_on]

    def points_at(self, stage: str) -> list[Point]:
        """The points that a stage runs with."""
        return [point for point in self.points if stage in point.stages]

    def point(self, point_id: str) -> Point:
        """The point behind a path."""
        if point_id not in self._points_by_id:
            raise SapError(f"{point_id} is no point of this config; results/index.csv says what an id stands for.")
        return self._points_by_id[point_id]

    def fold_points(self, target: str) -> list[Point]:
        """All points judged on one target: references first, and no attack by a client that the fold lacks.

        The fold of NOBODY has the points that are judged with everyone, and each attacker of any attack alone.
        """
        kinds = self.settings["evaluate"]["references"]
        names = [client.name for client in self.sources(target)]
        if target == NOBODY:
            known = tuple(kind for kind in kinds if kind in ("zero_shot", "client"))
            return [*references(known, names), *attacked_clients(self.points), *self.with_everyone]
        there = [point for point in self.points if point.judged and self._meets(point, target)]
        return [*map(self._as_candidate, references(kinds, names)), *there]

    def shard_points(self, target: str, shard: int, seeds: frozenset[frozenset[int]] | None = None) -> list[Point]:
        """A point's shard depends on its id alone: adding points moves none of the others.

        `seeds` (see `seeds_asked`) leaves out the points that are not judged at a seed; None takes all.
        """
        shards = self.settings["evaluate"]["shards"]
        return [
            point
            for point in self.fold_points(target)
            if int(digest(point.id), 16) % shards == shard
            and (seeds is None or point.seeds is None or point.seeds in seeds)
        ]

    def seeds_asked(self, seed: int) -> frozenset[frozenset[int]]:
        """Of the sets of seeds that points name, those that hold `seed`: seeds with the same ones ask the same."""
        return frozenset(point.seeds for point in self.points if point.seeds is not None and seed in point.seeds)

    @cached_property
    def _points_by_id(self) -> dict[str, Point]:
        return {point.id: point for point in self.points}

    @cached_property
    def gradients(self) -> tuple[Gradient, ...]:
        """Every one that some point reads, and the one that the diagnosis shows."""
        asked = [gradient for point in self.points for gradient in point.gradients]
        return tuple(dict.fromkeys([*asked, self.diagnosed]))

    @property
    def draws(self) -> list[tuple[int, str]]:
        """(draw, pool) of the anchors behind the gradients."""
        return list(dict.fromkeys((gradient.draw, gradient.pool) for gradient in self.gradients))

    @property
    def compared(self) -> list[Gradient]:
        """The gradients whose masks are compared: every draw of the kind and pool that the diagnosis shows."""
        shown = self.diagnosed
        return sorted(gradient for gradient in self.gradients if gradient._replace(draw=shown.draw) == shown)

    @cached_property
    def measured(self) -> tuple[Statistic, ...]:
        """Every (kind, source) of statistics that some point reads."""
        return tuple(dict.fromkeys(kind for point in self.points for kind in point.measured))

    @property
    def diagnosed(self) -> Gradient:
        return Gradient("cosine", "absolute_of_mean", 0)


def _of_clients(point: Point) -> bool:
    """Whether a point is made of what clean clients upload, and of nothing else: no ceiling is a part of it."""
    kinds = schema()["$defs"]["kinds"]
    reads = {read for part in parts(point.settings) for read in kinds[part["kind"]]["reads"]}
    return not point.attackers and reads <= {"merge", "clients"}
