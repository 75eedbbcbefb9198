"""The real workflow on the small study: every rule runs, and the numbers that must always hold do."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from sap.io import digest_file, load_tensors, read_csv, read_json, read_jsonl
from sap.plans import FoldPlan
from sap.report.catalogue import FIGURES, PAGES, TABLES
from tests.workflow.small_study import ROOT, Workflow

pytestmark = pytest.mark.slow

RULES = {
    "prepare_domain",
    "prepare_backbone",
    "embed_classes",
    "train_client",
    "draw_anchors",
    "score_client",
    "measure",
    "diagnose",
    "evaluate",
    "audit",
    "headroom_table",
    "tables",
    "figures",
    "complete",
}

SEAL = {"stage", "trainee", "client", "seed", "sample_count", "files", "digest"}  # all that an upload's meta.json has


def rows_of(workflow: Workflow, target: str) -> tuple[list[dict], dict[str, np.ndarray], Path]:
    (path,) = workflow.glob(f"results/evaluate/*/{target}/seed-0/shard-0/rows.jsonl")
    return read_jsonl(path), load_tensors(path.with_name("predictions.safetensors"), "np"), path.parent


def find(rows: list[dict], domain: str, **settings: object) -> dict:
    """The one row of this domain whose settings hold these values."""
    (found,) = (
        row
        for row in rows
        if row["domain"] == domain and all(row["settings"].get(key) == value for key, value in settings.items())
    )
    return found


def true_probability(predictions: dict[str, np.ndarray], row: dict) -> np.ndarray:
    return predictions[f"{row['domain']}/test/true_probability"][row["index"]]


def test_every_rule_ran_and_left_a_log_and_a_benchmark(finished):
    benchmarks = {path.relative_to(finished.folder).parts[2] for path in finished.glob("results/benchmarks/**/*.tsv")}
    logs = {path.relative_to(finished.folder).parts[1] for path in finished.glob("logs/**/*.log")}
    assert benchmarks == RULES
    assert logs >= RULES


def test_every_table_and_figure_is_there_in_every_format(finished):
    tables = {f"results/tables/mini/{file}" for each in (TABLES | PAGES).values() for file in each.files}
    figures = {f"results/figures/mini/{file}" for each in FIGURES.values() for file in each.files}
    found = {str(path.relative_to(finished.folder)) for path in finished.glob("results/*/mini/*")}
    assert found == tables | figures | {"results/tables/mini/complete.txt"}
    assert all((finished.folder / path).stat().st_size > 0 for path in found)


def test_the_main_table_says_what_the_rows_say(finished):
    rows, _, _ = rows_of(finished, "sketch")
    table = (finished.folder / "results/tables/mini/main.csv").read_text(encoding="utf-8")
    accuracy = find(rows, "sketch", kind="zero_shot")["accuracy"]
    assert "zero-shot" in table
    assert any(f"{value:.4g}"[:5] in table for value in (accuracy, 100 * accuracy))


def test_pruning_nothing_is_the_unpruned_merge_and_scaling_to_nothing_is_zero_shot(finished):
    rows, predictions, _ = rows_of(finished, "sketch")
    mean = find(rows, "sketch", kind="merge", criterion="none", merge={"method": "mean"}, scale=1)
    nothing = find(rows, "sketch", criterion="taylor_absolute", prune_ratio=0, anchor_size=8, control="none")
    half = find(rows, "sketch", criterion="taylor_absolute", prune_ratio=0.5, anchor_size=8, control="none")
    zero = find(rows, "sketch", kind="merge", criterion="none", scale=0)
    reference = find(rows, "sketch", kind="zero_shot")
    assert np.array_equal(true_probability(predictions, nothing), true_probability(predictions, mean))
    assert np.array_equal(true_probability(predictions, zero), true_probability(predictions, reference))
    assert not np.array_equal(true_probability(predictions, half), true_probability(predictions, mean))


def test_a_clients_row_is_what_peft_itself_predicts(finished):
    """The upload, loaded by peft onto the backbone, loaded by open_clip: no code of ours in between."""
    import open_clip
    import torch
    from peft import PeftModel

    rows, predictions, _ = rows_of(finished, "sketch")
    row = find(rows, "sketch", kind="client", client="printed")
    (adapter,) = finished.glob("results/train_client/*/printed/seed-0/upload")
    (backbone,) = finished.glob("results/prepare_backbone/*")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{backbone}")
    classes = load_tensors(finished.glob("results/embed_classes/*/text_features.safetensors")[0])
    domain = finished.glob("results/prepare_domain/*/sketch")[0]
    test = [i for i, line in enumerate(read_csv(domain / "index.csv")) if line["split"] == "test"]
    from PIL import Image

    images = np.load(domain / "images.npy")[test]
    pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
    peft_model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        features = peft_model.encode_image(pixels, normalize=True)
        logits = classes["logit_scale"] * features @ classes["features"].T
    probabilities = logits.softmax(1).numpy()
    labels = predictions["sketch/test/labels"]
    assert np.allclose(probabilities[np.arange(len(labels)), labels], true_probability(predictions, row), atol=1e-4)


def test_a_merged_file_gives_the_same_predictions_as_the_row_in_memory(copied):
    from sap.evaluate.load import load_fold
    from sap.evaluate.rows import Judged
    from sap.update import load_update

    rows, predictions, _ = rows_of(copied, "sketch")
    for settings in (
        {"criterion": "taylor_absolute", "prune_ratio": 0.5, "anchor_size": 8},
        {"criterion": "none", "scale": 2},
    ):
        row = find(
            rows,
            "sketch",
            kind="merge",
            control=settings.get("control", "none") if "prune_ratio" in settings else None,
            **settings,
        )
        cohort = copied.glob("results/evaluate/*")[0].name
        target = f"results/merge/{cohort}/{row['point']}/sketch/seed-0"
        copied.run("--", f"{target}/update.safetensors")
        update = load_update(copied.folder / target / "update.safetensors")
        card = read_json(copied.folder / target / "meta.json")
        assert card["clients"] == ["handwritten", "printed"]
        # by its point: dry runs of other tests leave plans of other configs in the shared study
        (plan,) = (
            plan
            for plan in map(read_json, copied.glob("results/plans/merge-*"))
            if plan["points"][0]["id"] == row["point"]
        )
        for key in ("backbone", "classes"):
            plan[key] = str(copied.folder / plan[key])
        for key in ("domains", "clients"):
            plan[key] = {name: str(copied.folder / path) for name, path in plan[key].items()}
        judge, tests, _ = load_fold(msgspec.convert(plan, FoldPlan), "cpu", 256)
        probabilities = judge.probabilities(tests[Judged("sketch")], update)
        labels = predictions["sketch/test/labels"]
        assert np.array_equal(probabilities[np.arange(len(labels)), labels], true_probability(predictions, row))


def test_a_client_and_its_rows_are_the_same_bits_when_made_again_alone(copied):
    """Whatever the job order: everything after one deleted client is rebuilt by a single core."""
    watched = [*copied.glob("results/train_client/*/printed/seed-0/upload/adapter_model.safetensors")]
    watched += copied.glob("results/score_client/*/*/printed/seed-0/gradients.safetensors")
    _, predictions, folder = rows_of(copied, "sketch")
    before = [digest_file(path) for path in watched]
    shutil.rmtree(watched[0].parent)
    shutil.rmtree(watched[1].parent)
    shutil.rmtree(folder)
    copied.run("--cores", "1", "--", str(folder.relative_to(copied.folder) / "rows.jsonl"))
    assert [digest_file(path) for path in watched] == before
    _, again, _ = rows_of(copied, "sketch")
    assert set(again) == set(predictions)
    assert all(np.array_equal(again[name], predictions[name]) for name in again)


def test_every_artifact_says_where_it_came_from(finished):
    uploads = finished.glob("results/*/**/upload/meta.json")
    for path in uploads:  # their clients keep the rest
        assert {"stage", "seed", "files", "digest"} <= read_json(path).keys() <= SEAL, path
    for path in set(finished.glob("results/*/**/meta.json")) - set(uploads):
        meta = read_json(path)
        assert {"stage", "settings", "inputs", "code", "versions", "git_commit", "seconds", "peak_memory_bytes"} <= set(
            meta
        ), path
    adapter = read_json(finished.glob("results/train_client/*/printed/seed-0/meta.json")[0])
    assert adapter["upload_bytes"] > 0
    index = {row["id"] for row in read_csv(finished.folder / "results/index.csv")}
    assert {path.name for path in finished.glob("results/prepare_backbone/*")} <= index


def test_the_audit_tells_the_two_averages_apart(finished):
    rows = [row for path in finished.glob("results/audit/*/*/seed-0/audit.jsonl") for row in read_jsonl(path)]
    points = {row["point"] for row in rows}
    study = rows_of(finished, "sketch")[0]
    assert points == {row["point"] for row in study if row["kind"] == "merge" and row["settings"] in _main(finished)}
    table = {row["method"]: row for row in read_csv(finished.folder / "results/tables/mini/audit.csv")}
    assert float(table["mean"]["weight"]) == pytest.approx(1 / 2, abs=1e-4)
    assert float(table["mean"]["unexplained"]) == pytest.approx(0, abs=1e-5)
    assert float(table["product_of_means"]["unexplained"]) > 0.01
    assert "cross terms" in table["product_of_means"]["sentence"]
    ledger = {row["method"]: row for row in read_csv(finished.folder / "results/tables/mini/ledger.csv")}
    grams = [name for name in ledger if name.startswith("regmean")]
    assert len(grams) == 1
    assert float(ledger[grams[0]]["statistics_bytes"]) > 10 * float(ledger[grams[0]]["adapter_bytes"])
    assert float(ledger["mean"]["statistics_bytes"]) == 0


def _main(workflow: Workflow) -> list[dict]:
    """Settings of the points of the main table."""
    from sap.pipeline import build_study

    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for key, value in workflow.overlay.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    return [dict(point.settings) for point in build_study(config).points if "main" in point.views]


def test_the_report_builds_with_a_caption_for_every_table_and_figure(finished):
    found = finished.run("--report", "report.zip")
    assert (finished.folder / "report.zip").stat().st_size > 10_000, found.stdout


def test_a_pruned_client_as_a_file_has_lost_exactly_its_share_of_entries(copied):
    rows, _, _ = rows_of(copied, "sketch")
    point = find(rows, "sketch", criterion="taylor_absolute", prune_ratio=0.5, anchor_size=8, control="none")["point"]
    cohort = copied.glob("results/evaluate/*")[0].name
    copied.run("--", f"results/prune/{cohort}/{point}/printed/seed-0/update.safetensors")
    pruned = load_tensors(copied.folder / f"results/prune/{cohort}/{point}/printed/seed-0/update.safetensors")
    assert len(pruned) == 8
    for delta in pruned.values():
        assert int((delta == 0).sum()) == delta.numel() // 2
