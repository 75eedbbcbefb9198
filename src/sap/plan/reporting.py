"""What tables and figures read: points by their labels, and where rows, costs and evidence lie."""

import json
from pathlib import Path

from sap.failures import FAILED
from sap.plan.points import Point, attack_of, choice_of, family_of, read_by
from sap.plan.records import report_of
from sap.plan.schema import schema
from sap.plan.study import Study
from sap.plan.trainees import Trainee
from sap.plans import LeftOut, ReportPlan, ShardRows, Shown, Training, parts


def report_plan(study: Study) -> ReportPlan:
    """What tables and figures read."""
    judged = [point for target in study.folds for point in study.fold_points(target)]
    shown: dict[str, Point] = {}
    for point in [*judged, *study.points]:  # points that are only probed are in no fold
        shown.setdefault(point.id, point)
    return ReportPlan(
        experiment=study.name,
        dataset=study.settings["data"]["name"],
        backbone=study.folder("prepare_backbone"),
        anchors=max(study.settings["anchors"]["sizes"]),
        classes=tuple(study.settings["data"]["classes"]),
        domains=tuple(study.domains),
        targets=tuple(study.targets),
        seeds=tuple(study.seeds),
        points=tuple(map(_shown, shown.values())),
        folds=tuple(
            ShardRows(
                target=target,
                seed=seed,
                clients=tuple(client.name for client in study.sources(target)),
                rows=f"{study.folder('evaluate', target=target, seed=seed, shard=shard)}/rows.jsonl",
            )
            for target in study.folds
            for seed in study.seeds
            for shard in range(study.settings["evaluate"]["shards"])
        ),
        trainees=tuple(
            Training(
                **_name_and_kind(study, trainee),
                domains=tuple(domain for domain, _ in trainee.parts),
                seed=seed,
                meta=f"{study.folder('train_client', trainee, trainee=trainee.name, seed=seed)}/meta.json",
            )
            for trainee in study.trainees
            for seed in study.seeds_of(trainee)
        ),
        left_out=tuple(LeftOut(label=point.label, reason=reason) for point, reason in study.left_out),
        jobs={
            stage.name: [{**job.place, "folder": job.folder} for job in jobs]
            for stage in study.stages.values()
            if stage.reported and (jobs := [job for job in study.jobs if job.stage is stage])
        },
        failed=tuple(f"{job.folder}/{FAILED}" for job in study.jobs if job.stage.fails_by_row),
        margin=study.settings["evidence"]["margin"],
        beds={name: report_of(name) for name in study.settings["beds"]},
    )


def _shown(point: Point) -> Shown:
    defs, read = schema()["$defs"], list(parts(point.settings))
    return Shown(
        id=point.id,
        settings=dict(point.settings),
        label=point.label,
        attack=attack_of(point.settings, defs["attacks"]),
        attackers=point.attackers,
        seeds=None if point.seeds is None else tuple(sorted(point.seeds)),
        views=point.views,
        judged_on=point.judged_on,
        stages=point.stages,
        needs=tuple(sorted(read_by(point.settings, defs))),
        family=family_of(point.settings, defs),
        group=defs["kinds"][point.settings["kind"]]["group"],
        adapters=any(set(defs["kinds"][part["kind"]]["reads"]) & {"merge", "clients", "client"} for part in read),
        images=", ".join(dict.fromkeys(filter(None, (defs["kinds"][part["kind"]]["images"] for part in read)))),
        choice=choice_of(point.settings, defs),
    )


def _name_and_kind(study: Study, trainee: Trainee) -> dict[str, str]:
    """The poisoned are called by client and attack, whoever else is trained in the same way; others by their recipe."""
    declared = schema()["$defs"]["attacks"]
    for poisoned, name, attack in study.poisoned_clients:
        if poisoned == trainee:
            return {"name": f"{name}, {attack_of({'attack': json.loads(attack)}, declared)}", "kind": "poisoned"}
    if trainee.kind == "recipe":
        recipe = next(name for name in study.settings["recipes"] if study.trained_by(name, trainee.name) == trainee)
        return {"name": f"{trainee.name}, recipe {recipe}", "kind": trainee.kind}
    return {"name": trainee.name, "kind": trainee.kind}


def report_inputs(study: Study) -> list[str]:
    """Files that tables and figures read: of each job the one that is written last, and its failed rows; of other beds
    what is written when all their rows are there."""
    marks = [path for job in study.jobs if job.stage.reported for path in job.marks]
    last = study.stages["complete"]
    beside = [f"{last.root}/{name}/{file}" for name in study.settings["beds"] for file in last.files]
    return marks + [path for path in beside if Path(path).exists()]
