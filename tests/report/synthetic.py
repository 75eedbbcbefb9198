"""A made-up experiment on disk, as the workflow would leave it: plan, rows, metas, diagnoses, a small data store."""

import csv
import itertools
import json
import zlib
from pathlib import Path

import numpy as np

from sap.data.store import write_examples, write_images
from sap.evaluate.rows import FIELDS, HELD_OUT, TEST, VALIDATION, digest_arrays
from sap.io import save_tensors, sealed

DOMAINS = ("handwritten", "blended", "outlined", "printed")
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KINDS = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
LAYERS = tuple(f"visual.transformer.resblocks.{depth}.{kind}" for depth in range(4) for kind in KINDS)
GAIN = {"none": 0.0, "taylor_absolute": 0.025, "taylor_signed": 0.01, "magnitude": 0.012, "random": 0.005}

REFERENCES = {
    **{kind: {"group": "floor"} for kind in ("zero_shot", "client", "ensemble")},
    "pooled": {"group": "ceiling", "label": "pooled-source LoRA", "images": "all clients' images"},
    "oracle": {"group": "ceiling", "label": "in-domain oracle", "images": "target's images"},
}
NEEDS = {"taylor_absolute": ["gradient"], "taylor_signed": ["gradient"], "regmean": ["gram"], "weighted": ["counts"]}


def write_experiment(
    root,
    views=("main", "sweep", "ablation", "path", "draws", "selection"),
    domains=DOMAINS,
    classes=CLASSES,
    seeds=(0, 1, 2),
    clients_per_domain=1,
    extra_methods=0,
    shards=1,
    called="synthetic",
    turned=False,
):
    """Write everything below `root`/results and return the plan's path. `turned`: larger updates are better."""
    root, rows_in = Path(root), "e" if called == "synthetic" else called
    rng = np.random.default_rng(7)
    clients = {
        (domain if clients_per_domain == 1 else f"{domain}-{index}"): domain
        for domain in domains
        for index in range(clients_per_domain)
    }
    # As in a real plan: points begin with the clients of the first fold, which lacks those of the first domain.
    by_fold = sorted(clients, key=lambda name: clients[name] == domains[0])
    points = make_points(by_fold, views, extra_methods)
    plan = {
        "experiment": called,
        "dataset": "digits",
        "classes": list(classes),
        "domains": list(domains),
        "targets": list(domains),
        "seeds": list(seeds),
        "selection": "fixed",
        "backbone": "results/prepare_backbone/tiny",
        "points": points,
        "folds": [],
        "trainees": [],
        "jobs": {
            "prepare_domain": [
                {"domain": domain, "folder": f"results/prepare_domain/d/{domain}"} for domain in domains
            ],
            "score_client": [],
            "audit": [],
            "diagnose": [],
        },
        "margin": 0.01,
        "anchors": 64,
    }
    base = {domain: 0.45 + 0.4 * rng.random() for domain in domains}
    for target, seed in itertools.product(domains, seeds):
        inside = [name for name, domain in clients.items() if domain != target]
        rows = [row for point in points for row in _rows(point, target, seed, inside, clients, base, domains, turned)]
        for shard in range(shards):
            path = f"results/evaluate/{rows_in}/{target}/seed-{seed}/shard-{shard}/rows.jsonl"
            plan["folds"].append({"target": target, "seed": seed, "clients": inside, "rows": path})
            _shard(root / path, rows[shard::shards], len(classes))
        folder = f"results/audit/e/{target}/seed-{seed}"
        plan["jobs"]["audit"].append({"target": target, "seed": seed, "folder": folder})
        lines = [json.dumps(sealed(row)) + "\n" for row in _audit(points, target, seed, inside)]
        _write(root / folder / "audit.jsonl", "".join(lines))
    for seed in seeds:
        trainees = [(name, "client", [domain]) for name, domain in clients.items()]
        trainees += [(f"pooled-without-{d}", "pooled", [x for x in domains if x != d]) for d in domains]
        trainees += [(f"oracle-{d}", "oracle", [d]) for d in domains]
        for name, kind, trained in trainees:
            path = f"results/train_client/c/{name}/seed-{seed}/meta.json"
            plan["trainees"].append({"name": name, "kind": kind, "domains": trained, "seed": seed, "meta": path})
            meta = {
                "settings": {"corruption": None},
                "seconds": round(4 * len(trained) + rng.random(), 3),
                "peak_memory_bytes": 900_000_000 + int(1e8 * rng.random()),
                "upload_bytes": 214_528,
                "sample_count": 480 * len(trained),
                "val_accuracy": round(0.8 + 0.1 * rng.random(), 4),
                "start_accuracy": 0.6,
                "device": "cpu (x86_64, 2 threads)",
            }
            _write(root / path, json.dumps(meta))
        for name in clients:
            folder = f"results/score_client/s/c/{name}/seed-{seed}"
            plan["jobs"]["score_client"].append({"trainee": name, "seed": seed, "folder": folder})
            cost = {"seconds": 1.2 + rng.random(), "peak_memory_bytes": 700_000_000}
            _write(root / folder / "meta.json", json.dumps(cost))
        folder = f"results/diagnose/g/seed-{seed}"
        plan["jobs"]["diagnose"].append({"seed": seed, "folder": folder})
        _diagnose(root / folder, seed, list(clients), rng)
    if views:
        plan["jobs"]["headroom"] = _headroom(root, domains, seeds, base, len(classes))
    for domain in domains:
        _store(root / f"results/prepare_domain/d/{domain}", classes, rng)
    _write(root / f"results/plans/{called}.json", json.dumps(plan))
    return root / f"results/plans/{called}.json"


def _audit(points, target, seed, clients):
    """Every merge weighs each client 1/K; `factor_mean` 1/K² with half its energy in cross terms."""
    for point, layer in itertools.product(points, LAYERS[:2]):
        if point["settings"]["kind"] == "merge" and "main" in point["views"]:
            method = point["settings"]["merge"]["method"]
            crossed = method == "factor_mean"
            weight = len(clients) ** (-2 if crossed else -1)
            yield {
                "point": point["id"], "target": target, "seed": seed, "layer": layer, "energy": 2.0,
                "coefficients": dict.fromkeys(clients, weight), "unexplained": 0.5 * crossed, "cross": 0.5 * crossed,
                "denominator": 1 / weight, "norm_ratio": 0.6, "survivors": float(len(clients)), "order": 0.0,
                "scale": 0.25 if method == "ties" else 0.0, "rank": 8, "upload_bytes": 1000 * (method == "regmean"),
                "key": "0", "layers": 2,
            }  # fmt: skip


def make_points(clients, views, extra_methods=0):
    """Points in the shape of sap.plan: fields that cannot matter are left out of the settings."""
    found = {}

    def add(label, view, **settings):
        name = "-".join(str(value) for value in settings.values()).replace("'", "")
        family = "pruning" if settings.get("criterion", "none") != "none" else "average"
        needs = NEEDS.get(settings.get("criterion"), []) + NEEDS.get(settings.get("merge", {}).get("method"), [])
        new = {"id": name, "label": label, "views": [], "judged_on": ["target"], "settings": settings}
        new |= REFERENCES.get(settings["kind"], {})
        point = found.setdefault(name, new | {"needs": needs, "family": family})
        for key, word in (("views", view), ("judged_on", {"main": "clients", "selection": "selection"}.get(view))):
            if word and word not in point[key]:
                point[key].append(word)

    def pruned(criterion, ratio, method="mean", anchors=32, control="none", draw=0):
        anchored = {"alignment": "cosine", "reduction": "absolute_of_mean", "anchor_size": anchors, "anchor_draw": draw}
        return {
            "kind": "merge", "criterion": criterion, "space": "delta", "prune_ratio": ratio, "scope": "layer",
            "rescale": "none", "merge": {"method": method}, "scale": 1.0, "control": control,
            **(anchored if criterion.startswith("taylor") else {}),
        }  # fmt: skip

    def plain(method, scale=1.0):
        return {"kind": "merge", "criterion": "none", "merge": {"method": method}, "scale": scale}

    add("zero-shot", "main", kind="zero_shot")
    for client in clients:
        add(f"client {client}", "main", kind="client", client=client)
    for kind in ("ensemble", "pooled", "oracle"):
        add(kind, "main", kind=kind)
    if "main" in views:
        for method in ("mean", "ties", "factor_mean", "sum"):
            add(f"{method} of updates", "main", **plain(method))
        for criterion in ("taylor_absolute", "taylor_signed", "magnitude", "random"):
            add(f"{criterion} ρ=0.5 → mean, 32 anchors", "main", **pruned(criterion, 0.5))
        add("regmean", "main", **plain("regmean"), statistics="client", measured={"gram": "gram-client-0"})
        for index in range(extra_methods):
            add(f"another_method {index} & 50% more, with a rather long name", "main", **plain(f"method_{index}"))
    if "sweep" in views:
        for method in ("mean", "ties", "sum"):
            add(f"{method}", "sweep", **plain(method))
            for anchors, ratio in itertools.product((8, 16, 32, 64), (0.1, 0.3, 0.5, 0.7, 0.9)):
                add(f"{method} {anchors} {ratio}", "sweep", **pruned("taylor_absolute", ratio, method, anchors))
    if "ablation" in views:
        for criterion, ratio, control in itertools.product(GAIN, (0.5, 0.9), ("none", "restored", "shrunk")):
            if criterion != "none":
                add(f"{criterion} {ratio} {control}", "ablation", **pruned(criterion, ratio, control=control))
    if "path" in views:
        for scale in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
            add(f"mean λ={scale}", "path", **plain("mean", scale))
    if "draws" in views:
        for draw, control in itertools.product((1, 2), ("none", "shrunk")):
            add(f"draw {draw} {control}", "draws", **pruned("taylor_absolute", 0.5, control=control, draw=draw))
    if "selection" in views:
        for ratio in (0.1, 0.3, 0.5, 0.7, 0.9):
            add(f"candidate ρ={ratio}", "selection", **pruned("taylor_absolute", ratio))
        for scale in (0.5, 1.0, 2.0):
            add(f"candidate λ={scale}", "selection", **plain("mean", scale))
    return list(found.values())


def _rows(point, target, seed, inside, clients, base, domains, turned):
    settings = point["settings"]
    kind = settings["kind"]
    if kind == "client" and settings["client"] not in inside:
        return
    ratio, norm = settings.get("prune_ratio", 0.0), None
    if kind == "merge":
        norm = settings["scale"] * (1 - 0.6 * ratio if settings.get("control", "none") != "restored" else 1.0)
    judged = [(domain, TEST) for domain in (domains if "clients" in point["judged_on"] else [target])]
    if "selection" in point["judged_on"]:
        judged += [(domain, images) for images in (VALIDATION, HELD_OUT) for domain in domains if domain != target]
    for domain, images in judged:
        key = f"{point['id']}-{target}-{seed}-{domain}-{images}"
        rng = np.random.default_rng(zlib.crc32(key.encode()))  # its own: adding points moves no number of the others
        n = 120 + 20 * list(domains).index(domain)
        own = clients.get(settings.get("client")) == domain
        gain = {"zero_shot": 0, "client": 0.2 if own else -0.03, "ensemble": 0.01, "pooled": 0.05, "oracle": 0.2}.get(
            kind
        )
        if kind == "merge":
            seen = 0.08 if domain != target and images != HELD_OUT else 0.0
            gain = 0.06 * norm * (1 if turned else 1.3 - norm) + seen
            gain += 4 * ratio * (1 - ratio) * GAIN[settings["criterion"]]
            gain += 0.004 * np.log2(settings.get("anchor_size") or 8) * ratio
            gain -= 0.02 * ("ties" in str(settings["merge"])) + 0.01 * ("factor" in str(settings["merge"]))
        noise = 0.0 if kind == "zero_shot" else 0.012 * rng.standard_normal()
        correct = round(n * min(max(base[domain] + gain + noise, 0.0), 1.0))
        facts = {"anchor_loss": 0.5 - gain} if images == VALIDATION else {}
        yield {
            "key": key, "point": point["id"], "kind": kind, "target": target,
            "seed": seed, "domain": domain, "images": images, "n": n, "correct": correct, "accuracy": correct / n,
            "passes": 1 + 2 * (kind == "ensemble"), "parameters": 0,
            "index": 0, "norm": norm, "seconds": round(0.05 + 0.01 * rng.random(), 4), "settings": settings,
            **facts,
        }  # fmt: skip


def _shard(path, rows, classes):
    """rows.jsonl and the predictions beside it."""
    tensors = {}
    for place in sorted({(row["domain"], row["images"]) for row in rows}):
        inside, name = [row for row in rows if (row["domain"], row["images"]) == place], "/".join(place)
        labels = np.arange(inside[0]["n"], dtype=np.int16) % classes
        found = [predictions(row, labels, classes) for row in inside]
        tensors |= {f"{name}/{field}": np.stack([arrays[field] for arrays in found]) for field in FIELDS}
        tensors[f"{name}/labels"] = labels
        for index, (row, arrays) in enumerate(zip(inside, found, strict=True)):
            row |= {"index": index, "predictions": digest_arrays(labels, arrays)}
    save_tensors(path.with_name("predictions.safetensors"), tensors)
    _write(path, "".join(json.dumps(sealed(row)) + "\n" for row in rows))


def predictions(row, labels, classes):
    """As many right ones as the row says: the easy images first, with some noise of the point's own."""
    names = ["point", "target", "seed", "domain"] if row["kind"] != "zero_shot" else ["point", "domain"]
    own = np.random.default_rng(zlib.crc32(" ".join(str(row[name]) for name in names).encode()))
    easy = np.random.default_rng(zlib.crc32(row["domain"].encode())).random(len(labels))
    right = np.zeros(len(labels), bool)
    right[np.argsort(easy + 0.3 * own.random(len(labels)))[: row["correct"]]] = True
    wrong = (labels + 1 + own.integers(classes - 1, size=len(labels))) % classes
    probability = 0.5 + 0.5 * own.random(len(labels))
    arrays = (np.where(right, labels, wrong), probability, np.where(right, probability, (1 - probability) / 2))
    return {field: array.astype(kind) for (field, kind), array in zip(FIELDS.items(), arrays, strict=True)}


def _headroom(root, domains, seeds, base, classes):
    """The jobs of the stage; the ceilings are right on 6 and 20 points more than zero-shot, the probe on 10."""
    jobs = []
    for index, domain in enumerate(domains):
        n = 120 + 20 * index
        labels = np.arange(n, dtype=np.int16) % classes

        def right(kind, gain, seed=0, labels=labels, domain=domain):
            row = {"kind": kind, "point": kind, "target": domain, "seed": seed, "domain": domain}
            row["correct"] = round(len(labels) * min(base[domain] + gain, 1.0))
            return (predictions(row, labels, classes)["predicted"] == labels).astype(np.uint8)

        easy = np.random.default_rng(zlib.crc32(domain.encode())).random(n)
        for seed in seeds:
            folder = f"results/headroom/h/{domain}/seed-{seed}"
            arrays = {"labels": labels, "alignment": (0.4 - 0.3 * easy).astype(np.float32)}
            arrays |= {"zero_shot": right("zero_shot", 0), "probe": right("probe", 0.1)}
            arrays |= {"pooled": right("pooled", 0.06, seed)[None], "oracle": right("oracle", 0.2, seed)[None]}
            arrays |= {"reachable": right("reachable", 0.08, seed)[None], "scale": np.float32([0.5 + 0.25 * seed])}
            save_tensors(root / folder / "headroom.safetensors", arrays)
            _write(root / folder / "meta.json", "{}")
            jobs.append({"domain": domain, "seed": seed, "folder": folder})
    return jobs


def _diagnose(folder, seed, clients, rng):
    agreement, saliency = [], []
    for depth, layer in enumerate(LAYERS):
        for a, b in itertools.combinations(clients, 2):
            cosine = 0.5 - 0.02 * depth + 0.05 * rng.standard_normal()
            agreement.append((seed, layer, a, b, cosine, 0.5 - cosine / 3, 0.5 - cosine / 2))
        for client in clients:
            size = 3072 * (4 if "mlp" in layer else 3)
            saliency.append((seed, client, layer, size, 0.3, 0.1, rng.random() * (depth + 2), -0.001))
    totals = {client: sum(row[6] for row in saliency if row[1] == client) for client in clients}
    saliency = [(*row[:6], row[6] / totals[row[1]], row[7]) for row in saliency]
    header = ("seed", "layer", "client_a", "client_b", "cosine", "sign_conflict", "weighted_conflict")
    _csv(folder / "agreement.csv", header, agreement)
    header = ("seed", "client", "layer", "entries", "delta_norm", "gradient_norm", "score_share", "predicted_change")
    _csv(folder / "saliency.csv", header, saliency)


def _store(folder, classes, rng, size=16):
    ramp = np.linspace(0, 1, size)
    images = []
    for label in range(len(classes)):
        wave = np.sin(6 * ramp[:, None] * (1 + label % 5)) * np.cos(5 * ramp[None, :] * (1 + label // 5))
        images.append((127 + 100 * wave[..., None] * rng.random(3) + 20 * rng.random((size, size, 3))).astype(np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder / "images.npy", images, size)
    write_examples(folder, np.arange(len(classes)), np.full(len(classes), "train"), len(classes))
    _write(folder / "meta.json", "{}")


def _csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        writer.writerows(rows)


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
