import csv
import dataclasses
import json
import shutil
import statistics

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from sap.errors import SapError
from sap.findings.ablation import ablation_frame
from sap.findings.ledger import ledger_frame
from sap.findings.main import CEILING, CEILINGS, main_frame
from sap.io import read_jsonl, sealed, write_csv
from sap.report.catalogue import TABLES, files_of
from sap.report.exhibit import Exhibit
from sap.report.frame import load_results
from sap.report.make import make_exhibits
from sap.report.readers import points
from sap.report.write import write_table
from sap.stages.audit.exhibits import audit_frame, heaviest
from tests.report.synthetic import DOMAINS, write_experiment

MEAN = "merge-none-{method: mean}-1.0"
SAP = "taylor_absolute ρ=0.5 → mean, 32 anchors"


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    make_exhibits("tables", results, folder)
    return folder


@pytest.fixture
def copy(plan, tmp_path):
    """A copy of the experiment that a test may damage; returns its plan's path."""
    shutil.copytree(plan.parents[1], tmp_path / "results")
    return tmp_path / "results/plans" / plan.name


def accuracies(plan, point, domain=None):
    """{(target, seed): accuracy} of a point, straight from the rows: on the target, or on `domain`."""
    rows = [row for path in plan.parents[1].glob("evaluate/**/rows.jsonl") for row in read_jsonl(path)]
    return {
        (row["target"], row["seed"]): row["accuracy"]
        for row in rows
        if row["point"] == point and row["domain"] == (domain or row["target"]) and row["images"] == "test"
    }


def make_tables(results, folder, *names):
    """These tables alone: all take twenty seconds, and a test that damages an experiment reads one."""
    for name in names:
        write_table(TABLES[name].make(results), TABLES[name].title, name, folder)


def lines(path, **wanted):
    with open(path, encoding="utf-8", newline="") as handle:
        return [row for row in csv.DictReader(handle) if all(row[key] == value for key, value in wanted.items())]


def remove_row(plan, point, target, seed):
    path = plan.parents[1] / f"evaluate/e/{target}/seed-{seed}/shard-0/rows.jsonl"
    rows = read_jsonl(path)
    kept = [row for row in rows if (row["point"], row["domain"]) != (point, target)]
    assert len(kept) == len(rows) - 1
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def test_the_main_table_holds_the_hand_computed_means_and_sds(plan, written):
    found, start = accuracies(plan, MEAN), accuracies(plan, "zero_shot")
    (row,) = lines(written / "main.csv", point=MEAN)
    for domain in DOMAINS:
        values = [found[domain, seed] for seed in range(3)]
        assert float(row[f"accuracy__{domain}"]) == pytest.approx(statistics.mean(values), abs=1e-12)
        assert float(row[f"sd__{domain}"]) == pytest.approx(statistics.stdev(values), abs=1e-12)
    per_seed = [statistics.mean(found[domain, seed] for domain in DOMAINS) for seed in range(3)]
    gains = [value - statistics.mean(start[domain, 0] for domain in DOMAINS) for value in per_seed]
    assert float(row["mean"]) == pytest.approx(statistics.mean(per_seed), abs=1e-12)
    assert float(row["sd"]) == pytest.approx(statistics.stdev(per_seed), abs=1e-12)
    assert float(row["delta"]) == pytest.approx(statistics.mean(gains), abs=1e-12)
    assert (row["seeds"], float(row["images"])) == ("3", 120 + 140 + 160 + 180)


def test_markdown_and_latex_carry_the_numbers_of_the_csv(written):
    (row,) = lines(written / "main.csv", point=MEAN)
    mean, sd = (100 * float(row[name]) for name in ("mean", "sd"))
    assert f"| {mean:.1f} ± {sd:.1f} |" in (written / "main.md").read_text(encoding="utf-8")
    assert rf"& {mean:.1f} $\pm$ {sd:.1f} &" in (written / "main.tex").read_text(encoding="utf-8")


def test_clients_alone_and_the_best_client_come_from_the_clients_of_each_fold(plan, written):
    by_client = {name: accuracies(plan, f"client-{name}") for name in DOMAINS}
    inside = [[by_client[name]["printed", seed] for name in DOMAINS if name != "printed"] for seed in range(3)]
    (alone,) = lines(written / "main.csv", method="client alone (mean)")
    (best,) = lines(written / "main.csv", method="best client")
    assert float(alone["accuracy__printed"]) == pytest.approx(
        statistics.mean(statistics.mean(values) for values in inside)
    )
    assert float(best["accuracy__printed"]) == pytest.approx(statistics.mean(max(values) for values in inside))


def test_the_main_table_names_the_rows_that_the_study_cannot_have(plan, tmp_path):
    content = json.loads(plan.read_text(encoding="utf-8"))
    content["left_out"] = [{"label": "krum", "reason": "needs n >= 2f+3 clients: n = 2, f = 0 needs 3."}]
    named = plan.with_name("left-out.json")
    named.write_text(json.dumps(content), encoding="utf-8")
    write_table(TABLES["main"].make(load_results(named)), "main", "main", tmp_path)
    for suffix in ("md", "html"):
        text = (tmp_path / f"main.{suffix}").read_text(encoding="utf-8")
        assert text.count("Left out: krum. needs n ") == 1


def test_choices_made_on_the_target_and_ceilings_are_marked_and_stand_apart(written):
    text = (written / "main.md").read_text(encoding="utf-8")
    after = text[text.index("**Ceilings and choices made on the target**") :]
    for name in ("best client†", "pooled-source LoRA‡", "in-domain oracle‡"):
        assert f"| {name} |" in after
    (best,) = lines(written / "main.csv", method="best client")
    assert best["selection"] == "oracle"


def test_the_sign_of_delta_and_the_mark_below_zero_shot(results, written):
    (alone,) = lines(written / "main.csv", method="client alone (mean)")
    (oracle,) = lines(written / "main.csv", method="in-domain oracle")
    assert float(alone["delta"]) < 0 < float(oracle["delta"])
    assert (alone["below_zero_shot"], oracle["below_zero_shot"]) == ("True", "False")
    marked = [line for line in (written / "main.md").read_text(encoding="utf-8").splitlines() if "↓ |" in line]
    assert any("client alone (mean)" in line and "−" in line for line in marked)
    assert not any("in-domain oracle" in line for line in marked)


def test_the_ledger_names_anchors_only_where_gradients_on_them_are_read(written):
    ledger = {row["method"]: row for row in lines(written / "main.csv")}
    assert float(ledger[SAP]["anchors"]) == 32
    assert float(ledger["magnitude ρ=0.5 → mean, 32 anchors"]["anchors"]) == 0
    assert float(ledger[SAP]["upload_bytes"]) == 214_528
    assert ledger["in-domain oracle"]["reads"] == "target's images"


def test_a_missing_cell_prints_as_missing_and_so_does_every_average_over_it(copy, tmp_path):
    remove_row(copy, MEAN, "printed", 1)
    make_tables(load_results(copy), tmp_path / "tables", "main")
    (row,) = lines(tmp_path / "tables/main.csv", point=MEAN)
    assert (row["accuracy__printed"], row["mean"], row["delta"], row["worst"], row["below_zero_shot"]) == (
        "",
        "",
        "",
        "",
        "",
    )
    assert row["accuracy__outlined"] != ""
    assert row["seeds"] == "2"
    (line,) = [
        line
        for line in (tmp_path / "tables/main.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| mean of updates")
    ]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:8] == ["missing"] * 4
    assert "missing" not in cells[1:4]


def test_a_fold_without_any_rows_is_missing_not_dropped(copy, tmp_path):
    (copy.parents[1] / "evaluate/e/printed/seed-2/shard-0/rows.jsonl").unlink()
    make_exhibits("tables", load_results(copy), tmp_path / "tables")
    for row in lines(tmp_path / "tables/main.csv"):
        assert (row["accuracy__printed"], row["mean"]) == ("", "")


def test_a_missing_meta_is_a_missing_cost(copy, tmp_path):
    (copy.parents[1] / "train_client/c/printed/seed-0/meta.json").unlink()
    make_tables(load_results(copy), tmp_path / "tables", "main", "cost", "ledger", "trainings")
    (row,) = lines(tmp_path / "tables/cost.csv", stage="client training")
    assert (row["seconds"], row["upload_bytes"]) == ("", "")
    text = (tmp_path / "tables/cost.md").read_text(encoding="utf-8")
    assert "| client training | 12 | missing | missing | missing | missing | missing |" in text
    assert "| pooled-source training | 12 | 13 ± 0.18 | 2.5 | 0.98 | – | 1,440 |" in text


def test_beyond_shrinkage_is_the_paired_difference_to_the_shrunk_unpruned_merge(plan, results, written):
    (row,) = lines(written / "ablation.csv", criterion="magnitude", prune_ratio="0.9")
    shrunk_id = row["point"].removesuffix("none") + "shrunk"
    own, shrunk = accuracies(plan, row["point"]), accuracies(plan, shrunk_id)
    assert len(shrunk) == 12
    gains = [statistics.mean(own[d, seed] - shrunk[d, seed] for d in DOMAINS) for seed in range(3)]
    assert float(row["beyond_shrinkage"]) == pytest.approx(statistics.mean(gains), abs=1e-12)
    assert float(row["beyond_shrinkage_sd"]) == pytest.approx(statistics.stdev(gains), abs=1e-12)
    assert float(row["norm"]) == pytest.approx(0.46)


def test_every_criterion_stands_beside_random_at_the_same_ratio(written):
    rows = lines(written / "ablation.csv")
    random = {row["prune_ratio"]: float(row["own_norm"]) for row in rows if row["criterion"] == "random"}
    assert len(rows) == 8
    for row in rows:
        gain = float(row["own_norm"]) - random[row["prune_ratio"]]
        assert float(row["beyond_random"]) == pytest.approx(gain, abs=1e-12)


def test_the_sweep_holds_every_cell_once_and_the_unpruned_merge_at_zero(written):
    cells = [(row["merge"], row["anchor_size"], row["prune_ratio"]) for row in lines(written / "sweep.csv")]
    assert len(cells) == len(set(cells)) == 3 * (4 * 5 + 1)
    assert ("ties", "", "0.0") in cells


def test_the_path_starts_at_zero_shot_with_norm_zero(written):
    rows = lines(written / "shrinkage.csv")
    (start,) = lines(written / "main.csv", kind="zero_shot")
    assert (rows[0]["scale"], rows[0]["norm"], rows[0]["mean"]) == ("0.0", "0.0", start["mean"])
    assert [float(row["norm"]) for row in rows] == pytest.approx([float(row["scale"]) for row in rows])


def test_seen_accuracy_averages_the_domains_of_the_folds_clients(plan, written):
    (row,) = lines(written / "seen_unseen.csv", point=MEAN)
    seen = {domain: accuracies(plan, MEAN, domain) for domain in DOMAINS}
    per_seed = [statistics.mean(seen[d][t, seed] for t in DOMAINS for d in DOMAINS if d != t) for seed in range(3)]
    assert float(row["seen"]) == pytest.approx(statistics.mean(per_seed), abs=1e-12)
    assert float(row["gap"]) == pytest.approx(float(row["unseen"]) - float(row["seen"]), abs=1e-12)
    assert not lines(written / "seen_unseen.csv", kind="oracle")


def test_every_client_is_compared_with_zero_shot_on_its_own_domain(plan, written):
    own = accuracies(plan, "client-printed", "printed")
    per_seed = [statistics.mean(own[t, seed] for t in DOMAINS if t != "printed") for seed in range(3)]
    (row,) = lines(written / "trainings.csv", client="printed")
    (matrix,) = lines(written / "client_matrix.csv", client="printed")
    assert float(row["accuracy"]) == pytest.approx(statistics.mean(per_seed), abs=1e-12)
    assert float(matrix["accuracy__printed"]) == pytest.approx(float(row["accuracy"]), abs=1e-12)
    assert float(row["delta"]) == pytest.approx(float(row["accuracy"]) - float(row["zero_shot"]), abs=1e-12)


def test_clients_stand_in_the_plans_order_not_in_that_of_its_folds(results, written):
    first_in_points = results.points.loc[results.of_kind("client")[0], "client"]
    assert first_in_points != DOMAINS[0]
    assert [row["client"] for row in lines(written / "client_matrix.csv")] == ["zero-shot", *DOMAINS]
    assert [row["client"] for row in lines(written / "trainings.csv")] == list(DOMAINS)


def test_a_corrupted_client_is_named(copy, tmp_path):
    for path in copy.parents[1].glob("train_client/c/printed/*/meta.json"):
        meta = json.loads(path.read_text(encoding="utf-8"))
        meta["settings"]["corruption"] = {"kind": "derangement", "fraction": 0.5}
        path.write_text(json.dumps(meta), encoding="utf-8")
    make_tables(load_results(copy), tmp_path, "trainings")
    assert "| printed | printed | derangement 50 % |" in (tmp_path / "trainings.md").read_text(encoding="utf-8")


def test_latex_escapes_labels_and_balances_its_columns(large, tmp_path):
    make_tables(large, tmp_path, "main")
    text = (tmp_path / "main.tex").read_text(encoding="utf-8")
    assert r"another\_method 0 \& 50\% more" in text
    assert r"sketch\_with\_a\_long\_name" in text
    assert all(ord(character) < 128 for character in text)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line.replace(r"\&", "") for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    width = len(text.split(r"\begin{tabular}{")[1].split("}")[0])
    assert {row.count("&") for row in rows} == {width - 1}
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_an_experiment_without_such_points_says_so_in_one_sentence(bare, tmp_path):
    make_exhibits("tables", bare, tmp_path)
    for name in ("sweep", "ablation", "shrinkage"):
        assert "This experiment holds no" in (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert "This experiment holds no" in (tmp_path / f"{name}.tex").read_text(encoding="utf-8")
        assert lines(tmp_path / f"{name}.csv") == []


def test_tables_are_the_same_bytes_again_and_shards_do_not_matter(plan, written, tmp_path):
    sharded = write_experiment(tmp_path / "sharded", shards=3)
    make_exhibits("tables", load_results(sharded), tmp_path / "again")
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_every_table_of_the_catalogue_has_its_files(written):
    assert {path.name for path in written.iterdir()} == set(files_of("tables"))
    assert {path.stem for path in written.iterdir()} == {*TABLES, "summary"} - {"headroom"}


def test_a_downloaded_results_folder_works_from_anywhere(copy, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(load_results(copy).rows) > 1000


def test_the_csv_files_of_a_stage_that_nothing_here_knows_are_read_by_their_names(copy):
    content = json.loads(copy.read_text(encoding="utf-8"))
    content["jobs"]["toy"] = [{"seed": seed, "folder": f"results/toy/t/seed-{seed}"} for seed in (0, 1, 2)]
    copy.write_text(json.dumps(content), encoding="utf-8")
    for seed, client in ((0, "NA"), (2, "15")):
        (copy.parents[1] / f"toy/t/seed-{seed}").mkdir(parents=True)
        write_csv(
            copy.parents[1] / f"toy/t/seed-{seed}/rows.csv", [{"client": client, "share": 0.5}], ["client", "share"]
        )
    found = load_results(copy).files
    assert found["toy", "rows"].to_dict("list") == {"client": ["NA", "15"], "share": [0.5, 0.5]}
    assert found["toy", "others"].empty


def test_rows_of_other_experiments_in_the_same_file_are_left_alone(copy, results):
    path = copy.parents[1] / "evaluate/e/printed/seed-0/shard-0/rows.jsonl"
    row = sealed(read_jsonl(path)[0] | {"point": "of-another-experiment"})
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")
    assert len(load_results(copy).rows) == len(results.rows)


def test_two_rows_for_one_cell_are_an_error(copy):
    path = copy.parents[1] / "evaluate/e/printed/seed-0/shard-0/rows.jsonl"
    path.write_text(
        path.read_text(encoding="utf-8") + path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8"
    )
    with pytest.raises(SapError, match="two rows for target printed, seed 0"):
        load_results(copy)


def test_broken_files_are_named(copy, tmp_path):
    (copy.parents[1] / "evaluate/e/printed/seed-0/shard-0/rows.jsonl").write_text('{"point": ', encoding="utf-8")
    with pytest.raises(SapError, match=r"rows\.jsonl is damaged \(1 of its rows .*snakemake --forcerun evaluate"):
        load_results(copy)
    (tmp_path / "no_plan.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SapError, match="it is no ReportPlan: Object missing required field `experiment`"):
        load_results(tmp_path / "no_plan.json")


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("evaluate/e/printed/seed-0/shard-0/rows.jsonl", '"correct": ', '"correct": 1', "--forcerun evaluate"),
        ("audit/e/printed/seed-0/audit.jsonl", '"rank": 8', '"rank": 9', "--forcerun audit"),
    ],
)
def test_a_changed_number_in_a_row_is_not_reported(file, old, new, sentence, copy):
    path = copy.parents[1] / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SapError, match=rf"{path.name} is damaged .*{sentence}"):
        load_results(copy)


def test_a_merge_that_lost_layers_in_the_audit_is_not_averaged(copy):
    path = copy.parents[1] / "audit/e/printed/seed-0/audit.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    with pytest.raises(SapError, match=r"audit\.jsonl lacks layers of a merge.*--forcerun audit"):
        load_results(copy)


def test_criteria_keep_one_order_for_every_prune_ratio(results):
    """Whatever the order of the plan's points: blocks of the config may name one of them earlier."""
    mixed = dataclasses.replace(results, points=results.points.sample(frac=1, random_state=1))
    frame = ablation_frame(mixed)
    orders = {tuple(group["criterion"]) for _, group in frame.groupby(["variant", "prune_ratio"])}
    assert len(orders) == 1
    assert len(frame["prune_ratio"].unique()) > 1


def test_the_audit_says_in_words_what_its_numbers_say(written):
    found = {row["method"]: row for row in lines(written / "audit.csv")}
    assert found["mean of updates"]["sentence"].startswith("each client weighs 1/3, nothing else, 0.6 × the norm")
    crossed = found["factor_mean of updates"]
    assert crossed["sentence"].startswith("each client weighs 1/9, 50 % of the energy is cross terms")
    assert float(crossed["denominator"]) == pytest.approx(9)
    assert "doubling the updates does not double it (25 % off)" in found["ties of updates"]["sentence"]
    layers = lines(written / "audit_layers.csv", method="mean of updates")
    assert len(layers) == 2
    assert all(float(row["weight"]) == pytest.approx(1 / 3) for row in layers)
    assert "| ties of updates | 0.333 | 3 | – | 0.00 | 0.00 | 0.600 | 3.00 of 3 | 0 | 2.5e-01 |" in (
        written / "audit.md"
    ).read_text(encoding="utf-8")


def test_the_audit_names_a_client_that_outweighs_all_others_in_any_fold(copy, written):
    assert all(row["dominant"] == "" for row in lines(written / "audit.csv"))  # 1/3 each
    paths = [copy.parents[1] / f"audit/e/{target}/seed-0/audit.jsonl" for target in DOMAINS]
    for path in paths:
        rows = read_jsonl(path)
        for row in rows:
            if "printed" in row["coefficients"]:  # 0.56 of each of its folds; 0.42 of the means over folds
                row["coefficients"] = {name: 0.56 if name == "printed" else 0.22 for name in row["coefficients"]}
        path.write_text("".join(json.dumps(sealed(row)) + "\n" for row in rows), encoding="utf-8")
    frame = audit_frame(load_results(copy))
    assert set(frame["dominant"]) == {"printed"}
    assert frame["dominant_share"].tolist() == pytest.approx([0.56] * len(frame))
    assert all("printed outweighs all others with 56 %" in sentence for sentence in frame["sentence"])
    assert set(audit_frame(load_results(copy), per_layer=True)["dominant"]) == {"printed"}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"a": 0.74, "b": 0.26}, ("", None)),
        ({"a": 0.76, "b": 0.24}, ("a", 0.76)),
        ({"a": 0.5, "b": 0.25, "c": 0.25}, ("", None)),
        ({"a": 0.2, "b": -0.6, "c": 0.2}, ("b", 0.6)),
        ({"a": 0.0, "b": 0.0, "c": 0.0}, ("", None)),
        ({"a": 1.0}, ("", None)),
    ],
)
def test_a_client_is_named_from_half_of_the_weights_on_and_of_two_from_three_quarters(weights, expected):
    rows = pd.DataFrame([{"target": "t", "seed": 0, "energy": 2.0, "coefficients": weights}])
    name, share = heaviest(rows)
    assert (name, None if np.isnan(share) else pytest.approx(share)) == expected


def test_the_ledger_counts_what_a_client_sends_besides_its_adapter(written):
    found = {row["method"]: row for row in lines(written / "ledger.csv")}
    assert float(found["regmean"]["statistics_bytes"]) == 2000  # two layers of 1000 bytes
    assert found["regmean"]["statistics"] == "Gram matrices on each client's images"
    assert (found[SAP]["anchors"], found[SAP]["reads"]) == ("32", "anchor gradients")
    assert found["mean of updates"]["anchors"] == "0"
    (main,) = lines(written / "main.csv", method="regmean")
    assert float(main["upload_bytes"]) == 214_528 + 2000


@pytest.mark.parametrize("stage", ["headroom_table", "tables", "figures"])
def test_numbers_do_not_depend_on_the_threads_that_a_user_has(stage, bare, tmp_path, monkeypatch):
    threads, make = [], Exhibit.make

    def spy(exhibit, results):
        threads.extend(library["num_threads"] for library in threadpool_info())
        return make(exhibit, results)

    monkeypatch.setattr(Exhibit, "make", spy)
    with threadpool_limits(2):
        assert {library["num_threads"] for library in threadpool_info()} == {2}
        make_exhibits(stage, bare, tmp_path)
    assert set(threads) == {1}


def test_what_a_ceiling_is_part_of_stands_among_the_ceilings_with_its_mark(results):
    name = "served with an oracle"
    marked = [
        dataclasses.replace(point, label=name, images="target's images") if point.label == "ties of updates" else point
        for point in results.plan.points
    ]
    frame = main_frame(dataclasses.replace(results, points=points(marked)))
    row = frame.set_index("method").loc[name]
    assert (row["group"], row["mark"], row["reads"]) == (CEILINGS, CEILING, "target's images")
    assert np.isnan(row["upload_bytes"])
    assert list(frame["method"]).count(name) == 1


def test_the_ledger_counts_what_clients_send_for_what_is_served_and_no_adapter_where_none_is_read(results):
    (ties,) = (point for point in results.plan.points if point.label == "ties of updates")
    head = dataclasses.replace(
        ties,
        label="head",
        settings={"kind": "gda", "statistics": "client", "measured": {"moments": "id"}},
        needs=("moments",),
        adapters=False,
    )
    beside = dataclasses.replace(head, label="on a merge", adapters=True)
    judged = results.judged.assign(uploaded=np.where(results.judged["point"] == ties.id, 50, np.nan))
    for point, adapter in ((head, 0), (beside, 214_528)):
        listed = [point if each is ties else each for each in results.plan.points]
        changed = dataclasses.replace(results, points=points(listed), judged=judged)
        row = ledger_frame(changed).set_index("method").loc[point.label]
        assert (row["adapter_bytes"], row["statistics_bytes"]) == (adapter, 200)
        assert row["statistics"] == "class moments on each client's images"
