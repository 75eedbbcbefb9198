"""What a point (one server-side setting) may say, once: config, library, merge tool, labels and caches read it here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sap.config import type_schema, validate
from sap.needs import ANCHORS, STATISTICS, from_source

ALWAYS, PRUNED, ANCHORED, MEASURED, ATTACKED, FINISHED, TRAINED = (
    "always", "pruned", "anchored", "measured", "attacked", "finished", "trained",
)  # fmt: skip
PLAIN = "plain"  # the recipe that the section `train` is
CAPTIONS, CLASSES = "captions", "classes"  # pools of the anchors
MASK, RESCALE, MERGE, AFTER = range(4)  # steps of a composition, in their order


@dataclass(frozen=True)
class Field:
    """One field of a point.

    kind: type of a value; default: what a point means that says nothing; help: one sentence; bounds: see sap.config
    when: where the field matters; elsewhere it is left out of a point's settings, and so of its id
    step: the first step of the composition that reads it
    written: how a label says a value other than the default, None where labels leave it to others
    always: a label also says the default
    silent: the default is left out of a point's settings, so that points which do not say the field keep their ids
    """

    kind: Any
    default: Any
    help: str
    when: str = ALWAYS
    step: int = MASK
    written: Callable[[Any], str] | None = None
    always: bool = False
    silent: bool = False
    bounds: Mapping[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of one value."""
        return type_schema(self.kind, self.bounds) | {"description": self.help, "default": self.default}


def _field(kind: Any, default: Any, help: str, when: str = ALWAYS, step: int = MASK, **more: Any) -> Field:
    """A Field: what is none of its attributes is a bound."""
    named = {name: more.pop(name) for name in ("written", "always", "silent") if name in more}
    return Field(kind, default, help, when, step, **named, bounds=more)


FIELDS = {  # in the order in which labels say them
    "attack": _field(
        str | dict,
        "none",
        "what the attackers do: `none`, a name, or {kind: name, option: value}; see docs/methods.md",
        ATTACKED,
    ),
    "attackers": _field(
        str,
        "each",
        "who attacks: a client's name, several joined by +, or `each` client in turn; nobody where attack is none",
        ATTACKED,
    ),
    "attacker_weight": _field(
        float | None,
        None,
        "weight of all attackers together in a weighted_mean, for the curve from 0 to 1; null leaves it to the merge",
        ATTACKED,
        low=0,
        high=1,
    ),
    "recipe": _field(
        str,
        PLAIN,
        "whose clients are merged: those trained as `train` says (`plain`), or by a recipe of the section `recipes`",
        TRAINED,
        written="recipe {}".format,
    ),
    "merge": _field(
        str | dict,
        {"method": "mean"},
        "merge method: a name, or {method: name, option: value}; see docs/methods.md",
        step=MERGE,
    ),
    "criterion": _field(str, "none", "what is pruned first; `none` leaves the updates whole"),
    "prune_ratio": _field(float, 0.5, "ρ, share of entries set to zero", PRUNED, low=0, high=1),
    "space": _field(
        str, "delta", "score and mask on the dense ΔW, or on A and B", PRUNED, written=str, choices=("delta", "factors")
    ),
    "scope": _field(
        str,
        "layer",
        "one threshold per layer, one for the whole model, or one per output row",
        PRUNED,
        written=str,
        choices=("layer", "model", "row"),
    ),
    "rescale": _field(
        str,
        "none",
        "`inverse_density` is 1/(1-ρ); `frobenius` and `l1` keep each layer's norm, `frobenius_model` the whole "
        "update's; `robustmerge` lifts the rank-1 components (space factors)",
        PRUNED,
        RESCALE,
        written=str,
        choices=("none", "inverse_density", "frobenius", "frobenius_model", "l1", "robustmerge"),
    ),
    "control": _field(
        str,
        "none",
        "`shrunk`: the unpruned merge at the pruned one's layer norms; `restored`: the other way round",
        PRUNED,
        AFTER,
        written=str,
        choices=("none", "shrunk", "restored"),
    ),
    "unit": _field(
        str,
        "entry",
        "what is kept or dropped as one: an entry, an output row, a rank-1 component (space factors), a whole layer",
        PRUNED,
        written="unit {}".format,
        choices=("entry", "row", "component", "layer"),
    ),
    "prune_top": _field(
        float,
        0.0,
        "γ, share of the highest scores that goes, too (two-sided pruning); part of ρ",
        PRUNED,
        written="γ={:g}".format,
        low=0,
        below=1,
    ),
    "count": _field(str, "floor", "how many entries ρ·N is", PRUNED, written=str, choices=("floor", "round")),
    "anchor_size": _field(
        int,
        32,
        "anchor pairs; must be one of anchors.sizes",
        ANCHORED,
        written="{} anchors".format,
        always=True,
        low=1,
    ),
    "alignment": _field(
        str, "cosine", "anchor loss behind the gradient", ANCHORED, written=str, choices=("cosine", "contrastive")
    ),
    "reduction": _field(
        str,
        "absolute_of_mean",
        "|w · mean g| or mean |w · g_i|",
        ANCHORED,
        written=str,
        choices=("absolute_of_mean", "mean_of_absolute"),
    ),
    "anchor_draw": _field(int, 0, "which draw of the anchors", ANCHORED, written="draw {}".format, low=0),
    "anchor_pool": _field(
        str,
        CAPTIONS,
        "which anchors: public pairs with their own `captions`, or public images of the study's `classes`, captioned "
        "by prompts with its class words",
        ANCHORED,
        written="{} as anchors".format,
        silent=True,
        choices=(CAPTIONS, CLASSES),
    ),
    "statistics": _field(
        str,
        "client",
        "whose inputs Grams and Fisher information are measured on: each client's own images, or the anchors",
        MEASURED,
        written={"client": "measured on clients", "anchors": "measured on anchors"}.get,
        always=True,
        choices=("client", "anchors"),
    ),
    "finish": _field(
        str | dict,
        "none",
        "what is done to the merged update, before rank and scale: `none`, a name, or {method: name, option: value}; "
        "see docs/methods.md",
        FINISHED,
        AFTER,
    ),
    "rank": _field(
        int | None,
        None,
        "best approximation of the merged update by this rank; null keeps it as it is",
        step=AFTER,
        written="rank {}".format,
        low=1,
    ),
    "scale": _field(float, 1.0, "λ on the merged update; 0 is zero-shot", step=AFTER, written="λ={:g}".format, low=0),
}
CHAINED = {  # ids that the plan adds: of the gradients, of the statistics, of a recipe's trainings
    "saliency": ANCHORED,
    "measured": MEASURED,
    "trained": TRAINED,
}

# A block of the config is the product of its lists, the last one fastest, so that neighbours share what is dear: first
# what an attack leaves of the clients, at the end the scores, of which a ratio is one comparison.
SWEPT = (
    "recipe", "attack", "attackers", "attacker_weight", "criterion", "space", "unit", "scope", "count", "statistics",
    "alignment", "reduction", "anchor_draw", "anchor_pool", "anchor_size", "merge", "rescale", "control", "finish",
    "rank", "scale", "prune_top", "prune_ratio",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {
    name: known.default for name, known in FIELDS.items() if known.when not in (ATTACKED, TRAINED)
}
_POINT = {"type": "object", "properties": {name: FIELDS[name].schema for name in DEFAULTS}}


def block_schema() -> dict[str, Any]:
    """Schema of these fields in a block of the config: lists, as wide as the block sweeps."""
    return {
        name: {
            "type": "array",
            "items": type_schema(known.kind, known.bounds),
            "minItems": 1,
            "description": known.help,
            "default": [known.default],
        }
        for name, known in FIELDS.items()
    }


def complete(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point with every default filled in; SapError for a value that its field does not allow."""
    validate(dict(point), _POINT)
    return DEFAULTS | dict(point)


def prunes(settings: Mapping[str, Any]) -> bool:
    """False for criterion none and for ρ = 0, where every rescale is the identity: bit for bit the unpruned merge."""
    return settings["criterion"] != "none" and settings["prune_ratio"] > 0


def relevant(settings: Mapping[str, Any], needs: Iterable[str]) -> dict[str, Any]:
    """The settings without the fields that cannot matter, and without silent defaults; `needs`: of the criterion and
    the merge method."""
    matters = {
        ALWAYS: True,
        PRUNED: settings["criterion"] != "none",
        ANCHORED: bool(from_source(ANCHORS, needs)),
        MEASURED: bool(from_source(STATISTICS, needs)),
        ATTACKED: settings.get("attack", "none") != "none",
        FINISHED: settings.get("finish", "none") != "none",
        TRAINED: settings.get("recipe", PLAIN) != PLAIN,
    }
    return {name: value for name, value in settings.items() if matters[_when(name)] and not _is_silent(name, value)}


def names_where(when: str) -> list[str]:
    """The fields that matter under a condition, and the ids chained to them."""
    return [name for name in (*FIELDS, *CHAINED) if _when(name) == when]


def up_to(settings: Mapping[str, Any], step: int) -> dict[str, Any]:
    """What a composition has read after a step: points that agree in it share what came of it."""
    return {name: value for name, value in settings.items() if name not in FIELDS or FIELDS[name].step <= step}


def words(settings: Mapping[str, Any]) -> list[str]:
    """How a label says the settings that differ from the defaults, or that it always names."""
    return [
        known.written(settings[name])
        for name, known in FIELDS.items()
        if known.written and name in settings and (known.always or settings[name] != known.default)
    ]


def _is_silent(name: str, value: Any) -> bool:
    return name in FIELDS and FIELDS[name].silent and value == FIELDS[name].default


def _when(name: str) -> str:
    return FIELDS[name].when if name in FIELDS else CHAINED.get(name, ALWAYS)
