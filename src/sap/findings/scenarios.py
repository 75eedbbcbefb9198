"""Attacks as the tables see them: who attacks which merge, its clean twin, and what is right, image by image.

A level is {domain: (S, n) share of attackers under which each test image is right, seed by seed}. It is an average over
attackers within an image, so that the images, which the attackers share, do not count as if they were more.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sap.evaluate.rows import TRIGGERED
from sap.report.frame import Results
from sap.report.outcomes import Array, whole
from sap.report.readers import SETTING_COLUMNS
from sap.stats.effect import DIFFERENCES, MISSING_EFFECT, Effect, crossed_effect

EVERYONE = "none"  # the fold in which every domain has a client and none is held out
ADAPTIVE, PLAIN_TWIN = "adaptive", "sign_flip"  # the first hides the second from the server
Attackers = tuple[str, ...]
Level = Mapping[str, Array]
Chosen = Callable[[str, Attackers], bool]  # (domain, attackers) -> does this cell count


@dataclass(frozen=True)
class Scenario:
    """One way to merge under one attack: `points` by who attacks, and the `clean` point with the same settings."""

    attack: str
    defence: str
    points: Mapping[Attackers, str]
    clean: str | None

    @property
    def twins(self) -> dict[Attackers, str | None]:
        """The clean point in place of each attacked one."""
        return dict.fromkeys(self.points, self.clean)


def attacks(results: Results) -> list[str]:
    """Names of all attacks in plan order; `adaptive` stands behind the attack that it hides."""
    names = [name for name in dict.fromkeys(results.points["attack"]) if name]
    if {ADAPTIVE, PLAIN_TWIN} <= set(names):
        names.remove(ADAPTIVE)
        names.insert(names.index(PLAIN_TWIN) + 1, ADAPTIVE)
    return names


def scenarios(results: Results, attack: str, judged_on: str = "target") -> list[Scenario]:
    """The merges under an attack that are judged on this, every client at its usual weight, the plain mean first."""
    points = results.points[results.points["attack"].isin(["", attack]) & (results.points["kind"] == "merge")]
    points = points[points["attacker_weight"].isna()]
    keys = points[["merge_key", *SETTING_COLUMNS]].map(str).agg("|".join, axis=1)
    clean = {keys[point]: point for point in points.index[points["attack"] == ""]}
    attacked = points[(points["attack"] == attack) & points["judged_on"].map(lambda words: judged_on in words)]
    found = []
    for key, group in attacked.groupby(keys, sort=False):
        by_attackers = dict(zip(group["attackers"], group.index, strict=True))
        found.append(Scenario(attack, group["label"].iloc[0], by_attackers, clean.get(key)))
    return sorted(found, key=lambda scenario: not is_plain(results, scenario))


def weighted(results: Results, attack: str) -> dict[float, dict[Attackers, str]]:
    """The attackers' weight -> points by who attacks: the curve of an attack, in order of weight."""
    points = results.points[(results.points["attack"] == attack) & results.points["attacker_weight"].notna()]
    found: dict[float, dict[Attackers, str]] = {}
    for point, row in points.iterrows():
        found.setdefault(float(row["attacker_weight"]), {})[row["attackers"]] = point
    return dict(sorted(found.items()))


def alone(results: Results, attack: str = "") -> dict[Attackers, str]:
    """Each client alone as it uploads under an attack, by its name; clean without one."""
    points = results.points[(results.points["kind"] == "client") & (results.points["attack"] == attack)]
    return {(client,): point for client, point in zip(points["client"], points.index, strict=True)}


def is_plain(results: Results, scenario: Scenario) -> bool:
    """True for the unpruned mean of the updates."""
    return averages(results, scenario, "mean")


def averages(results: Results, scenario: Scenario, method: str) -> bool:
    """True where the merge is `method` at λ = 1 and nothing else."""
    settings = results.points.loc[next(iter(scenario.points.values()))]
    bare = settings["criterion"] == "none" and settings["scale"] == 1 and pd.isna(settings["rank"])
    return bare and json.loads(settings["merge_key"])["method"] == method


def anywhere(domain: str, attackers: Attackers) -> bool:
    """Chooses every cell."""
    return True


def target_class(results: Results, point: str) -> int | None:
    """The class that the patch of a point's backdoor stands for; None under other attacks."""
    attack = next(planned.settings["attack"] for planned in results.plan.points if planned.id == point)
    if attack["kind"] != "backdoor":
        return None
    name = attack["target_class"]
    return 0 if name is None else list(results.plan.classes).index(name)


def owns(results: Results) -> Chosen:
    """Chooses the cells in which the attackers hold the tested domain."""
    return lambda domain, attackers: any(domain in results.client_domains[name] for name in attackers)


def lacks(results: Results) -> Chosen:
    """Chooses the cells in which no attacker holds the tested domain."""
    own = owns(results)
    return lambda domain, attackers: not own(domain, attackers)


def common_seeds(results: Results, points: Iterable[str | None]) -> list[int]:
    """The seeds that all of these points are planned at; a None among them has none."""
    points = list(dict.fromkeys(points))
    planned = [results.outcomes.seeds_of(point) if point else [] for point in points]
    return [seed for seed in results.seeds if all(seed in asked for asked in planned)]


def clients_of(results: Results, target: str) -> tuple[str, ...]:
    """The clients that merge in the folds of a target; none where it has no fold."""
    return next((fold.clients for fold in results.plan.folds if fold.target == target), ())


def level(
    results: Results,
    points: Mapping[Attackers, str | None],
    seeds: Sequence[int],
    fold: str | None = None,
    chosen: Chosen = anywhere,
) -> Level | None:
    """What is right under these points; see `per_domain`."""

    def right(point: str, domain: str, fold: str) -> Array | None:
        found = results.outcomes.correct(point, domain, fold)
        planned = results.outcomes.seeds_of(point)
        return None if found is None else found[[planned.index(seed) for seed in seeds]]

    return per_domain(results, points, right, fold, chosen) if seeds else None


def stamped(
    results: Results,
    points: Mapping[Attackers, str | None],
    seeds: Sequence[int],
    target_class: int,
    fold: str | None = None,
    chosen: Chosen = anywhere,
) -> Level | None:
    """Which images of other classes, stamped with a backdoor's patch, are classified as its target class."""

    def success(point: str, domain: str, fold: str) -> Array | None:
        read = whole(results.outcomes.read(point, domain, seed, fold, TRIGGERED) for seed in seeds)
        if read is None:
            return None
        return np.stack([(one["predicted"] == target_class)[one["labels"] != target_class] for one in read])

    return per_domain(results, points, success, fold, chosen) if seeds else None


def changed(
    results: Results, points: Mapping[Attackers, str | None], reference: str, seeds: Sequence[int], chosen: Chosen
) -> Level | None:
    """Which images the points classify otherwise than `reference` does, where every domain has a client."""

    def differs(point: str, domain: str, fold: str) -> Array | None:
        pairs = whole(
            whole(results.outcomes.read(one, domain, seed, fold) for one in (point, reference)) for seed in seeds
        )
        if pairs is None:
            return None
        return np.stack([one["predicted"] != other["predicted"] for one, other in pairs])

    return per_domain(results, points, differs, EVERYONE, chosen) if seeds else None


def per_domain(
    results: Results,
    points: Mapping[Attackers, str | None],
    read: Callable[[str, str, str], Array | None],
    fold: str | None,
    chosen: Chosen,
) -> Level | None:
    """`read(point, domain, fold)`, a mean over the chosen attackers of each domain; None where anything is missing.

    `fold` EVERYONE tests on all domains; by default each domain is tested in the fold that holds it out.
    """
    found = {}
    for domain in results.domains if fold == EVERYONE else results.targets:
        there = set(clients_of(results, fold or domain))
        cells = whole(
            read(point, domain, fold or domain) if point else None
            for attackers, point in points.items()
            if there.issuperset(attackers) and chosen(domain, attackers)
        )
        if cells is None:
            return None
        if cells:
            found[domain] = np.mean(cells, axis=0)
    return found or None


def minus(left: Level | None, right: Level | None) -> Level | None:
    """left − right, image by image. Its mean is the difference of their means also where their domains differ."""
    if left is None or right is None:
        return None
    domains = [*left, *(domain for domain in right if domain not in left)]

    def share(side: Level, domain: str) -> Array:
        return side[domain] * (len(domains) / len(side)) if domain in side else np.zeros(())

    return {domain: share(left, domain) - share(right, domain) for domain in domains}


def effect_of(found: Level | None) -> Effect:
    """Mean over domains with its interval."""
    return crossed_effect([array[None] for array in found.values()], DIFFERENCES) if found else MISSING_EFFECT


def mean_of(found: Level | None) -> float:
    """Mean over domains; NaN where missing."""
    return float(np.mean([array.mean() for array in found.values()])) if found else np.nan


def images_of(found: Level | None) -> int:
    """Test images behind a level, over its domains."""
    return sum(array.shape[1] for array in found.values()) if found else 0
