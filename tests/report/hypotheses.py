"""Made-up evidence on the hypotheses beside a synthetic experiment: towers, masks, probes, privacy."""

import itertools
import json

import numpy as np
from safetensors.numpy import save_file

from tests.report.synthetic import KINDS, LAYERS, _csv

TEXT_LAYERS = tuple(layer.removeprefix("visual.") for layer in LAYERS)
GAPS = {"conflict": 0.06, "domain": 0.2, "jaccard": 0.3, "auc": 0.15}  # the effects that the numbers hold


def add_evidence(plan_path, layers=LAYERS, draws=3, sizes=(8, 16, 32), ratios=(0.5, 0.9), per_domain=60, gaps=GAPS):
    """Write the files and name them in the plan; the probed and attacked points are those of the view `ablation`."""
    root, plan = plan_path.parents[2], json.loads(plan_path.read_text(encoding="utf-8"))
    rng = np.random.default_rng(11)
    clients = [entry["name"] for entry in plan["trainees"] if entry["kind"] == "client"]
    clients = list(dict.fromkeys(clients))
    points = [p for p in plan["points"] if "ablation" in p["views"] or p["label"] in ("zero-shot", "mean of updates")]
    made = {name: [] for name in ("compare_towers", "compare_masks", "probe", "privacy")}
    plan["jobs"] |= made
    for seed in plan["seeds"]:
        for stage, jobs in made.items():
            jobs.append({"seed": seed, "folder": f"results/{stage}/x/seed-{seed}"})
            folder = root / jobs[-1]["folder"]
            write = {"compare_towers": _towers, "compare_masks": _masks, "probe": _probe, "privacy": _privacy}[stage]
            folder.mkdir(parents=True, exist_ok=True)
            write(folder, seed, clients, points, layers, draws, sizes, ratios, per_domain, plan, gaps, rng)
            (folder / "meta.json").write_text("{}", encoding="utf-8")
    plan_path.write_text(json.dumps(plan), encoding="utf-8")
    return plan_path


def _towers(folder, seed, clients, points, layers, draws, sizes, ratios, per_domain, plan, gaps, rng):
    rows = []
    for layer, (a, b) in itertools.product((*layers, *(n.removeprefix("visual.") for n in layers)), _pairs(clients)):
        visual = layer.startswith("visual.")
        conflict = 0.35 + gaps["conflict"] * visual + 0.01 * rng.standard_normal()
        numbers = (1 - 2 * conflict, conflict, 0.9 * conflict, 60 + 10 * visual, 75.0, 0.3, 0.3)
        rows.append((seed, "visual" if visual else "text", layer, a, b, *numbers))
    columns = (
        "seed tower layer client_a client_b cosine sign_conflict weighted_conflict angle chance_angle norm_a norm_b"
    )
    _csv(folder / "towers.csv", columns.split(), rows)


def _masks(folder, seed, clients, points, layers, draws, sizes, ratios, per_domain, plan, gaps, rng):
    sources = [*itertools.product(range(draws), sizes), ("magnitude", 0)]
    rows, kept = [], []
    for client, ratio in itertools.product(clients, ratios):
        chance = (1 - ratio) / (1 + ratio)
        for (draw_a, size_a), (draw_b, size_b) in _pairs(sources):
            near = 0.0 if draw_b == "magnitude" else gaps["jaccard"] * min(size_a, size_b) / max(sizes)
            jaccard = chance + (1 - chance) * (near + 0.02 * rng.random())
            sides = (draw_a, size_a, draw_b, size_b)
            rows.append((seed, client, ratio, *sides, jaccard, chance, near + 0.1 * rng.random()))
        kept += [
            (seed, client, ratio, layer, 3072, int(3072 * (1 - ratio) * rng.uniform(0.5, 1.5))) for layer in layers
        ]
    columns = "seed client ratio draw_a size_a draw_b size_b jaccard chance spearman"
    _csv(folder / "masks.csv", columns.split(), rows)
    _csv(folder / "kept.csv", ("seed", "client", "ratio", "layer", "entries", "kept"), kept)


def _probe(folder, seed, clients, points, layers, draws, sizes, ratios, per_domain, plan, gaps, rng):
    """Only pruning by saliency hides the domain, more so at higher ρ; the class stays."""
    domains = np.repeat(np.arange(len(plan["domains"])), per_domain)
    rows, found = [], {"domain": [], "class": []}
    for point in points:
        settings = point["settings"]
        hidden = gaps["domain"] * settings.get("prune_ratio", 0.0) * (settings.get("criterion") == "taylor_absolute")
        for which, share in (("domain", 0.9 - hidden), ("class", 0.8)):
            found[which].append((np.random.default_rng(5).random(len(domains)) < share).astype(np.uint8))
        accuracies = [float(found[which][-1].mean()) for which in ("domain", "class")]
        rows.append((seed, point["id"], *accuracies, len(domains), 4 * len(domains), 1.0))
    arrays = {name: np.stack(values) for name, values in found.items()}
    labels = (np.arange(len(domains)) % len(plan["classes"])).astype(np.int16)
    save_file(arrays | {"domains": domains.astype(np.int16), "labels": labels}, folder / "probe.safetensors")
    _csv(folder / "probe.csv", ("seed", "point", "domain_accuracy", "class_accuracy", "n", "n_train", "norm"), rows)


def _privacy(folder, seed, clients, points, layers, draws, sizes, ratios, per_domain, plan, gaps, rng):
    scores, uploads = [], []
    for client, point in itertools.product(clients, points):
        ratio = point["settings"].get("prune_ratio", 0.0)
        if point["settings"]["kind"] == "zero_shot" or point["settings"].get("control", "none") != "none":
            continue
        for score in ("loss", "ratio"):
            auc = 0.5 + gaps["auc"] * (1 - ratio) + 0.02 * rng.standard_normal()
            scores.append((seed, client, point["id"], score, auc, auc - 0.03, auc + 0.03, 0.02 + 0.1 * ratio, 300, 300))
        kept = round(200_000 * (1 - ratio))
        size = 4 * kept + (25_000 if ratio else 0) if ratio else 40_000
        uploads.append((seed, client, point["id"], 200_000, kept, 40_000, size, 1 - size / 40_000))
    columns = "seed client point score auc auc_low auc_high tpr members non_members"
    _csv(folder / "privacy.csv", columns.split(), scores)
    columns = "seed client point entries kept factor_bytes entry_bytes saved"
    _csv(folder / "bytes.csv", columns.split(), uploads)


def deep(blocks):
    """Layers of a visual tower with this many blocks."""
    return tuple(f"visual.transformer.resblocks.{depth}.{kind}" for depth in range(blocks) for kind in KINDS)


def _pairs(items):
    return itertools.combinations(items, 2)
