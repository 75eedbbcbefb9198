"""A made-up experiment under attack, on disk as the workflow would leave it."""

import functools
import itertools
import json
import zlib
from pathlib import Path

import numpy as np

from sap.evaluate.rows import FIELDS, TEST, TRIGGERED, digest_arrays
from sap.io import save_tensors, sealed, write_jsonl, write_text
from sap.report.frame import load_results

DOMAINS = ("cartoon", "photo", "printed", "sketch")
DERANGEMENT, WEAK, BACKDOOR = "derangement 100 %", "uniform 25 %", "backdoor 50 %"
HARM = {DERANGEMENT: 1.0, WEAK: 0.0, BACKDOOR: 0.1, "sign_flip": 0.6, "adaptive": 0.9}
DEFENCES = {"mean": 1.0, "product_of_means": 0.2, "SAP": 0.5}  # -> share of the attack's harm that it lets through
WEIGHTS = (0.0, 0.0625, 0.25, 1 / 3, 0.5, 1.0)
NOBODY = "none"


def make_attacked(root, **options):
    """`write_attacked`, loaded."""
    return load_results(write_attacked(root, **options))


def write_attacked(
    root,
    domains=DOMAINS,
    harm=HARM,
    defences=DEFENCES,
    clients_per_domain=1,
    classes=10,
    seeds=(0, 1, 2),
    images=80,
    everyone=True,
    accuracy=None,
    by_seed=False,
    wrong=2,
    poisoned_norm=1.0,
):
    """Write plan, rows and predictions below `root`/results; returns the plan's path.

    A model is right on the images whose ease lies below its accuracy, so models differ on as few images as they can.
    `accuracy(point, fold, domain, clients)`, with `by_seed` also (seed), replaces `model_accuracy`. Wrong answers of
    attacked models lie `wrong` classes beside the true one, those of all others one. `poisoned_norm`: of an attacker's
    update, where those of clean clients have 1.
    """
    root, accuracy = Path(root), accuracy or model_accuracy
    options = {"images": images, "classes": classes, "wrong": wrong, "poisoned_norm": poisoned_norm}
    clients = {
        domain if clients_per_domain == 1 else f"{domain}-{index + 1}of{clients_per_domain}": domain
        for domain in domains
        for index in range(clients_per_domain)
    }
    points = make_points(list(clients), harm, defences)
    plan = {
        "experiment": "attacked", "dataset": "made", "backbone": "", "anchors": 64,
        "classes": [f"class {index}" for index in range(classes)],
        "domains": list(domains), "targets": list(domains), "seeds": list(seeds), "points": points, "folds": [],
        "trainees": [
            {"name": name, "kind": "client", "domains": [domain], "seed": seed, "meta": "absent"}
            for name, domain in clients.items()
            for seed in seeds
        ],
    }  # fmt: skip
    for fold, seed in itertools.product((*domains, *([NOBODY] if everyone else [])), seeds):
        inside = [name for name, domain in clients.items() if domain != fold]
        path = f"results/evaluate/e/{fold}/seed-{seed}/shard-0/rows.jsonl"
        plan["folds"].append({"target": fold, "seed": seed, "clients": inside, "rows": path})
        there = [point for point in points if _belongs(point, fold, inside)]
        judge = functools.partial(accuracy, seed=seed) if by_seed else accuracy
        _shard(root / path, there, fold, seed, domains, clients, judge, **options)
    write_text(root / "results/plans/attacked.json", json.dumps(plan))
    return root / "results/plans/attacked.json"


def make_points(clients, harm, defences):
    """Zero-shot, clients alone, and every defence clean and under every attack by each client in turn."""
    points = [_point("zero-shot", "main", "clients", {"kind": "zero_shot"})]
    points += [_point(f"client {name}", "main", "clients", {"kind": "client", "client": name}) for name in clients]
    points += [_point(label, "attack", "everyone", _merge(label)) for label in defences]
    for attack in harm:
        settings = {"kind": attack.split()[0]}
        if attack == BACKDOOR:
            settings |= {"target_class": None, "patch_size": 0.2}
        for name in clients:
            where = {"attack": settings | {"name": attack}, "attackers": [name]}
            alone = {"kind": "client", "client": name} | where
            points.append(_point(f"client {name}", "attack", "clients", alone, attack))
            judged_on = "everyone" if attack == DERANGEMENT else "target"
            points += [_point(label, "attack", judged_on, _merge(label) | where, attack) for label in defences]
            if attack == DERANGEMENT:
                for weight in WEIGHTS:
                    curve = _merge("weighted_mean") | where | {"attacker_weight": weight}
                    points.append(_point("weighted_mean", "attack", judged_on, curve, attack))
    return points


def model_accuracy(point, fold, domain, clients):
    """Zero-shot 50 %, clean merges 60 %, a clean client 80 % at home; an attacker of harm h loses 75·h points
    there, and a mean of K clients loses 50·h/K on its domain and half of that elsewhere."""
    settings, attack = point["settings"], point["attack"]
    harm = HARM.get(attack, 0.0)
    away = 1.0 if any(clients[name] == domain for name in point["attackers"]) else 0.5
    if settings["kind"] == "zero_shot":
        return 0.5
    if settings["kind"] == "client":
        own = clients[settings["client"]] == domain
        return (0.8 - 0.75 * harm) if own else 0.55 - 0.4 * harm
    count = sum(held != fold for held in clients.values())
    weight = settings.get("attacker_weight", DEFENCES.get(point["label"], 0.7) / count)
    return 0.6 - 0.5 * harm * away * weight


def _point(label, view, judged_on, settings, attack=""):
    text = json.dumps(settings, sort_keys=True)
    return {
        "id": f"{settings['kind']}-{zlib.crc32(text.encode()):08x}", "label": label, "views": [view], "attack": attack,
        "judged_on": ["target", judged_on], "attackers": settings.get("attackers", []), "seeds": None,
        "settings": settings, "needs": [],
        "family": "average" if settings["kind"] == "merge" else None,
        "group": "" if settings["kind"] == "merge" else "floor",
    }  # fmt: skip


def _merge(label):
    pruned = label.startswith("SAP")
    method = "mean" if pruned else label
    settings = {"kind": "merge", "merge": {"method": method}, "scale": 1.0, "criterion": "none"}
    if pruned:
        settings |= {"criterion": "taylor_absolute", "prune_ratio": 0.5, "anchor_size": 32, "anchor_draw": 0}
    return settings


def _belongs(point, fold, inside):
    if point["settings"]["kind"] == "client" and point["attackers"]:
        return fold == NOBODY
    if fold == NOBODY and point["settings"]["kind"] == "merge" and "everyone" not in point["judged_on"]:
        return False
    return {*point["attackers"], point["settings"].get("client", inside[0])} <= set(inside)


def _shard(path, points, fold, seed, domains, clients, accuracy, images, classes, wrong, poisoned_norm):
    tensors, rows = {}, []
    judged = [(domain, TEST) for domain in domains]
    for domain, looks in judged + [(domain, TRIGGERED) for domain in domains if fold in (domain, NOBODY)]:
        triggered, name = looks == TRIGGERED, f"{domain}/{looks}"
        labels = (np.arange(images) % classes).astype(np.int16)
        found = []
        for point in points:
            if not _judged(point, triggered, domain, fold):
                continue
            share = accuracy(point, fold, domain, clients)
            found.append(_predictions(point, share, labels, domain, seed, classes, wrong, triggered))
            right = int((found[-1]["predicted"] == labels).sum())
            rows.append(
                {
                    "point": point["id"], "kind": point["settings"]["kind"], "target": fold, "seed": seed,
                    "domain": domain, "images": looks, "n": images, "correct": right, "accuracy": right / images,
                    "seconds": 0.1, "passes": 1, "parameters": 0,
                    "index": len(found) - 1, "predictions": digest_arrays(labels, found[-1]),
                    **_facts(point, fold, clients, poisoned_norm),
                }
            )  # fmt: skip
        if found:
            tensors |= {f"{name}/{field}": np.stack([arrays[field] for arrays in found]) for field in FIELDS}
            tensors[f"{name}/labels"] = labels
    path.parent.mkdir(parents=True)
    save_tensors(path.with_name("predictions.safetensors"), tensors)
    write_jsonl(path, [sealed(row) for row in rows])


def _judged(point, triggered, domain, fold):
    """A point has rows on its held-out domain, on all if on `clients`, stamped where a backdoor is about."""
    if triggered:
        return point["attack"] == BACKDOOR or (not point["attack"] and point["settings"]["kind"] == "merge")
    return fold in (domain, NOBODY) or "clients" in point["judged_on"]


def _predictions(point, share, labels, domain, seed, classes, wrong, triggered):
    """Right where an image is easy enough; else zero-shot and the attacked are wrong in ways of their own."""
    start = point["settings"]["kind"] == "zero_shot"
    ease = np.random.default_rng(zlib.crc32(domain.encode())).permutation(len(labels)) / len(labels)
    luck = 0.0 if start else 0.02 * np.random.default_rng(seed).standard_normal()
    beside = (labels + (wrong if point["attack"] else 1)) % classes
    predicted = np.where(ease < share + luck, labels, beside)
    if triggered and point["attack"]:
        predicted[: len(labels) * 3 // 4] = 0
    probability = np.full(len(labels), 0.7)
    arrays = (predicted, probability, np.where(predicted == labels, probability, 0.1))
    return {field: array.astype(kind) for (field, kind), array in zip(FIELDS.items(), arrays, strict=True)}


def _facts(point, fold, clients, poisoned_norm):
    settings = point["settings"]
    facts = {"norm": poisoned_norm if settings["kind"] == "client" and point["attack"] else 1.0}
    if settings["kind"] == "merge" and point["attack"]:
        count = sum(domain != fold for domain in clients.values())
        weight = settings.get("attacker_weight", count ** (-2 if point["label"] == "product_of_means" else -1))
        facts |= {"attacker_weight": weight, "attacker_norm": 0.9}
        if settings["criterion"] != "none":
            facts |= {"attacker_kept": [0.5, 0.9], "honest_kept": [0.5, 0.8]}
    return facts
