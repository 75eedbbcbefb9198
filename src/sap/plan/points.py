"""Blocks of the config -> points: one point is one complete server-side setting."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sap.combinations import check_combination
from sap.errors import SapError
from sap.needs import STATISTICS, from_source
from sap.plan.ids import make_id
from sap.plan.schema import schema
from sap.plans import parts
from sap.setting import SWEPT, prunes, relevant, words

Gradient = tuple[str, str, int]  # alignment, reduction, anchor draw
ON_CLIENTS = ("target", "clients")
Statistic = tuple[str, str]  # kind (gram, fisher, moments, failures, curve), whose inputs (client, anchors)


@dataclass(frozen=True)
class Point:
    """One server-side setting (`settings`, plain JSON), its id, its name in tables and where it is shown.

    `seeds`: the training seeds that it is judged at; None is all of them. `judged_on`: nothing, or its target and what
    else the words say (sap.plan.options). `stages`: which run with it beside `evaluate`.
    """

    id: str
    label: str
    views: tuple[str, ...]
    settings: Mapping[str, Any]
    seeds: frozenset[int] | None = None
    judged_on: tuple[str, ...] = ("target",)
    stages: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """True where `evaluate` owes rows of the point."""
        return bool(self.judged_on)

    @property
    def attackers(self) -> tuple[str, ...]:
        """The clients that attack; none where the point is clean."""
        return tuple(self.settings.get("attackers", ()))

    @property
    def recipes(self) -> list[str]:
        """By which recipes the clients train that the point merges; none where all are plain."""
        return list(dict.fromkeys(part["recipe"] for part in parts(self.settings) if "recipe" in part))

    @property
    def gradients(self) -> list[Gradient]:
        """Which gradients the point reads."""
        return [gradient_of(part) for part in parts(self.settings) if "alignment" in part]

    @property
    def measured(self) -> list[Statistic]:
        """Which statistics of its clients the point reads."""
        return [(kind, part["statistics"]) for part in parts(self.settings) for kind in part.get("measured", ())]


def expand(
    blocks: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Any],
    saliency_id: Callable[[Gradient], str],
    measure_id: Callable[[Statistic], str],
    clients: Sequence[str] = (),
    recipe_id: Callable[[str], str] = str,
) -> list[Point]:
    """Points of all blocks (see `sap.plan.blocks`), each once, in an order in which neighbours share work.

    `known` holds the declarations of all `merge` methods, `criteria` and `finishes` (the schema's $defs); `saliency_id`
    names the gradients of an (alignment, reduction, draw), which chains a point to its anchors; `measure_id` names the
    statistics of a (kind, source); `clients` are those that `attackers: each` stands for; `recipe_id` names the
    trainings of a recipe, which chains a point to them. Fields that cannot matter (the anchors of a random mask) are
    left out of the settings, so that equal points have equal ids; what blocks say of one point is joined. Every pruned
    point of the main table gets its shrinkage control.
    """
    found: dict[str, Point] = {}

    def add(point: Point, named: bool) -> None:
        found[point.id] = _joined(found[point.id], point, named) if point.id in found else point

    def merged(where: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
        criterion = known["criteria"].get(chosen["criterion"], {})
        check_combination(chosen, criterion, known["merge"][chosen["merge"]["method"]], f"{where}: ")
        settings = _settings(chosen, known)
        if "alignment" in settings:
            settings["saliency"] = saliency_id(gradient_of(settings))
        if "recipe" in settings:
            settings["trained"] = recipe_id(settings["recipe"])
        return settings

    def served(where: str, block: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
        options = dict(block["serve"])
        kind = options.pop("kind")
        settings = merged(where, chosen) if "merge" in known["kinds"][kind]["reads"] else {}
        measured = (*settings.get("measured", ()), *known["kinds"][kind]["needs"])
        if measured:
            source = settings.setdefault("statistics", "client")
            settings["measured"] = {name: measure_id((name, source)) for name in measured}
        if block["beside"]:
            first = ({name: other[name][0] for name in SWEPT} for other in block["beside"])
            settings["beside"] = [served(where, *pair) for pair in zip(block["beside"], first, strict=True)]
        return settings | {"kind": kind} | ({"serve": options} if options else {})

    for where, block in blocks.items():
        swept = {name: block[name] for name in SWEPT}
        swept["attackers"] = [
            name for given in swept["attackers"] for name in (clients if given == "each" else (given,))
        ]
        size = math.prod(len(values) for name, values in swept.items() if not name.startswith("attack"))
        if block["label"] and size > 1:
            raise SapError(f"{where}.label must name one point, but the block makes {size}. Drop the label.")
        for values in itertools.product(*swept.values()):
            settings = served(where, block, dict(zip(swept, values, strict=True)))
            label = block["label"] or describe(settings, known)
            seeds = None if block["seeds"] is None else frozenset(block["seeds"])
            judged_on = tuple(dict.fromkeys(("target", *block["judged_on"]))) if block["judged_on"] else ()
            views = tuple(block["views"]) if judged_on else ()
            name = make_id(_slug(settings), settings)
            add(Point(name, label, views, settings, seeds, judged_on, tuple(block["stages"])), block["label"])
    for point in list(found.values()):
        if point.settings["kind"] == "merge" and "main" in point.views and point.settings.get("control") == "none":
            settings = {**point.settings, "control": "shrunk"}
            add(Point(make_id(_slug(settings), settings), f"{point.label}, control", ("control",), settings), False)
    return list(found.values())


def both_seeds(a: frozenset[int] | None, b: frozenset[int] | None) -> frozenset[int] | None:
    """The seeds of either; None is all of them."""
    return None if a is None or b is None else a | b


def _joined(earlier: Point, point: Point, named: bool) -> Point:
    """Two blocks' words on one point, the first's label unless the second's is `named`."""
    lists = ("views", "judged_on", "stages")
    both: dict[str, Any] = {name: tuple(dict.fromkeys(getattr(earlier, name) + getattr(point, name))) for name in lists}
    return replace(point if named else earlier, seeds=both_seeds(earlier.seeds, point.seeds), **both)


def attacked_clients(points: Iterable[Point]) -> Iterator[Point]:
    """Every attacker of these points alone: the positive control of its attack."""
    found: dict[str, Point] = {}
    for point in points:
        for client in point.attackers:
            attack = {name: point.settings[name] for name in ("attack", "attackers")}
            settings = {"kind": "client", "client": client, **attack}
            name = make_id(f"client-{client}", settings)
            seeds = both_seeds(point.seeds, found.get(name, point).seeds)
            found[name] = Point(name, f"client {client}", ("attack",), settings, seeds, ON_CLIENTS)
    yield from found.values()


def attack_of(settings: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    """The name of a point's attack: its kind and the options that differ from the defaults; empty where it is clean."""
    if "attack" not in settings:
        return ""
    options = dict(settings["attack"])
    kind = options.pop("kind")
    share = f" {100 * options.pop('fraction'):g} %" if "fraction" in options else ""
    return kind + share + _special(options, declared[kind])


def _special(options: Mapping[str, Any], declared: Mapping[str, Any]) -> str:
    """` (density 0.2)`: the options that differ from the declared defaults; empty where none does."""
    defaults = declared["options"]["properties"]
    special = [f"{name} {_short(value)}" for name, value in options.items() if value != defaults[name]["default"]]
    return f" ({', '.join(special)})" if special else ""


def references(kinds: tuple[str, ...], clients: list[str]) -> Iterator[Point]:
    """Floors and ceilings as points: zero-shot, each client alone, ensemble, pooled, oracle."""
    declared = schema()["$defs"]["kinds"]
    for kind in kinds:
        title, alone = declared[kind]["title"], "client" in declared[kind]["reads"]
        for client in clients if alone else [None]:
            settings = {"kind": kind} | ({"client": client} if alone else {})
            slug, label = (f"{kind}-{client}", f"{title} {client}") if alone else (kind, title)
            yield Point(make_id(slug, settings), label, ("main",), settings, judged_on=ON_CLIENTS)


def gradient_of(settings: Mapping[str, Any]) -> Gradient:
    """(alignment, reduction, anchor draw) of the gradients that these settings read."""
    return settings["alignment"], settings["reduction"], settings["anchor_draw"]


def describe(settings: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """The name of a point in tables, made from what differs from the defaults."""
    if settings["kind"] != "merge":
        own = [describe({**settings, "kind": "merge"}, known)] if "merge" in settings else []
        of = " + ".join(own + [describe(other, known) for other in settings.get("beside", ())])
        declared = known["kinds"][settings["kind"]]
        title = declared["title"] + _special(settings.get("serve", {}), declared)
        return f"{title}: {of}" if of else title
    merge = dict(settings["merge"])
    text = merge.pop("method")
    text += _special(merge, known["merge"][text])
    if "finish" in settings:
        finish = dict(settings["finish"])
        name = finish.pop("method")
        text += f" → {name}{_special(finish, known['finishes'][name])}"
    if settings["criterion"] != "none":
        text = f"{settings['criterion']} ρ={_short(settings['prune_ratio'])} → {text}"
    return ", ".join([text, *words(settings)])


def choice_of(settings: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What choosing the options of a point's finish is called, `mean, depth-wise λ`; empty without a finish."""
    if "finish" not in settings:
        return ""
    bare = {name: value for name, value in settings.items() if name != "finish"}
    return f"{describe(bare, known)}, {known['finishes'][settings['finish']['method']]['title']}"


def needs_of(settings: Mapping[str, Any], known: Mapping[str, Any]) -> set[str]:
    """What the point's criteria and merge methods, and the kinds that it is served as, declared to need."""
    read: set[str] = set()
    for part in parts(settings):
        read |= set(known["kinds"][part["kind"]]["needs"])
        if "merge" in part:
            criterion, merge = part["criterion"], part["merge"]
            method = known["merge"][merge["method"]]
            read |= {
                need
                for need in method["needs"]
                if all(merge[option] in values for option, values in method["conditions"].get(need, {}).items())
            }
            read |= set(known["criteria"][criterion]["needs"] if criterion != "none" else ())
    return read


def read_by(settings: Mapping[str, Any], known: Mapping[str, Any]) -> set[str]:
    """Those of a point's needs that its merge really reads: at ρ = 0 no criterion is asked."""
    read = (part if "merge" in part and prunes(part) else {**part, "criterion": "none"} for part in parts(settings))
    return {need for part in read for need in needs_of({**part, "beside": ()}, known)}


def family_of(settings: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """Under which heading the point stands: `pruning`, else its merge method's family; `served` where it is served as
    something else, None for references."""
    if settings["kind"] != "merge":
        return None if known["kinds"][settings["kind"]]["group"] else "served"
    return "pruning" if settings["criterion"] != "none" else known["merge"][settings["merge"]["method"]]["family"]


def _settings(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a point without what cannot matter; `measured` lists what its methods need measured."""
    settings = {"kind": "merge", **values, "attackers": values["attackers"].split("+")}
    needs = needs_of(settings, known)
    measured = from_source(STATISTICS, needs)
    return relevant(settings, needs) | ({"measured": measured} if measured else {})


def _slug(settings: Mapping[str, Any]) -> str:
    words = [settings["attack"]["kind"]] if "attack" in settings else []
    words += [settings["recipe"]] if "recipe" in settings else []
    words += [settings["kind"]] if settings["kind"] != "merge" else []
    words += [settings["merge"]["method"]] if "merge" in settings else []
    words += [settings["finish"]["method"]] if "finish" in settings else []
    if settings.get("criterion", "none") != "none":
        words += [settings["criterion"], f"r{_short(settings['prune_ratio'])}"]
    return "-".join(words)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
