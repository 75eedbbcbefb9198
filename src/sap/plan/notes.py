"""What is worth knowing before a study starts, a line each: rows left out, short trainings, models trained unasked."""

from sap.plan.datasets import counts_of
from sap.plan.records import report_of
from sap.plan.study import Study

FEWEST_STEPS = 20  # below, an adapter has hardly left its start


def notes(study: Study) -> list[str]:
    """Sentences in this order; none where there is nothing to say."""
    left_out = [f"{point.label}, a row of config.yaml, is left out: {reason}" for point, reason in study.left_out]
    trainings = [*_short_trainings(study), *_soft_labels(study), *_trained_for_headroom(study)]
    return [*left_out, *trainings, *_absent_beds(study), *_no_selection(study)]


def steps_of(study: Study) -> dict[str, int]:
    """Client -> about how many steps it trains: shares are rounded by class, and files may be no images."""
    train, split = study.settings["train"], study.settings["data"]["split"]
    share = (1 - split["val"] - split["test"]) / study.settings["partition"]["clients_per_domain"]
    images = {domain: share * sum(counts.values()) for domain, counts in counts_of(study.settings["data"]).items()}
    return {
        client.name: train["epochs"] * -(-round(images[client.parts[0][0]]) // train["batch_size"])
        for client in study.clients
    }


def _short_trainings(study: Study) -> list[str]:
    short = {name: steps for name, steps in steps_of(study).items() if steps < FEWEST_STEPS}
    if not short:
        return []
    least, most = min(short.values()), max(short.values())
    return [
        f"{', '.join(short)}: about {least if least == most else f'{least} to {most}'} steps of training each, fewer "
        f"than {FEWEST_STEPS}, so that adapters may hardly leave their start. Raise train.epochs or lower "
        "train.batch_size."
    ]


def _soft_labels(study: Study) -> list[str]:
    trainings = {"train": study.settings["train"]}
    trainings |= {f"recipes.{name}": train for name, train in study.settings["recipes"].items()}
    soft = [f"{where}.label_smoothing" for where, train in trainings.items() if train["label_smoothing"]]
    if not soft:
        return []
    return [
        f"{' and '.join(soft)} above 0: clients that are trained to be unsure lose more by a merge (DisTaC, ICLR "
        "2026). Set it to 0, unless that loss is the question."
    ]


def _trained_for_headroom(study: Study) -> list[str]:
    if not study.settings["evidence"]["headroom"]:
        return []
    asked = study.settings["evaluate"]["references"]
    made = {"pooled": map(study.pooled, study.targets), "oracle": map(study.oracle, study.targets)}
    extra = {kind: set(found) - set(study.clients) for kind, found in made.items() if kind not in asked}
    named = [f"{len(found)} {kind}" for kind, found in extra.items() if found]
    if not named:
        return []
    return [
        f"{' and '.join(named)} models are trained at each seed for evidence.headroom alone: evaluate.references does "
        "not ask for them. evidence.headroom: false leaves them out."
    ]


def _absent_beds(study: Study) -> list[str]:
    return [
        f"experiment {name}, a bed of this one, has not run here, so the tables of regret leave it out. Run it, then "
        "this one again: its tables are all that is made anew."
        for name in study.settings["beds"]
        if not report_of(name)
    ]


def _no_selection(study: Study) -> list[str]:
    candidates = [point for view in study.settings["evaluate"]["candidates"] for point in study.in_view(view)]
    if study.settings["data"]["split"]["val"] or not candidates:
        return []
    return [
        "nothing is chosen by the sources' validation images, for data.split.val is 0. Raise it, or say so with "
        "evaluate.candidates: []."
    ]
