"""The points that the claims name, found by their settings."""

from sap.report.frame import Results
from sap.setting import ANCHORED, FIELDS, PLAIN


class NotTestable(Exception):
    """The experiment lacks what a claim is about; the text says what."""


def sap_point(results: Results) -> str:
    """SAP: the first pruned point of the main table by absolute Taylor scores, merged by the plain mean."""
    points = results.points
    chosen = (
        points["views"].map(lambda views: "main" in views)
        & (points["criterion"] == "taylor_absolute")
        & (points["merge"] == "mean")
        & (points["attack"] == "")
        & (points["control"] == "none")
        & (points["recipe"] == PLAIN)
    )
    if not chosen.any():
        raise NotTestable("the main table has no mean pruned by taylor_absolute")
    return points.index[chosen][0]


def unpruned_mean(results: Results) -> str:
    """The plain mean, λ = 1."""
    return find(results, "an unpruned mean", merge="mean", criterion="none", scale=1)


def variant(results: Results, point: str, what: str, **changes: object) -> str:
    """The clean point that differs from `point` in `changes` alone; anchors count where both sides read them."""
    names = ["merge", "criterion", "space", "prune_ratio", "scope", "unit", "rescale", "scale", "control"]
    wanted = {name: results.points.loc[point, name] for name in names} | changes
    if str(wanted["criterion"]).startswith("taylor"):
        anchored = [name for name, field in FIELDS.items() if field.when == ANCHORED]
        wanted = {name: results.points.loc[point, name] for name in anchored} | wanted
    return find(results, what, **wanted)


def find(results: Results, what: str, **settings: object) -> str:
    """The first clean merge of the plain trainings with these settings; NotTestable where the experiment has none."""
    points = results.points
    chosen = (points["kind"] == "merge") & (points["attack"] == "") & points["judged_on"].map(bool)
    chosen &= points["recipe"] == PLAIN
    for name, value in settings.items():
        chosen &= points[name].isna() if value is None or value != value else points[name] == value
    if not chosen.any():
        raise NotTestable(f"the experiment has no {what}")
    return points.index[chosen][0]


def reference(results: Results, kind: str) -> str:
    """Id of the floor or ceiling of one kind."""
    found = results.of_kind(kind)
    if not found:
        raise NotTestable(f"the experiment has no {kind.replace('_', '-')} reference")
    return found[0]
