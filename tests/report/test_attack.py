import functools

import numpy as np
import pandas as pd
import pytest

from sap.findings import draw_attack
from sap.findings.attack import BITES, INERT, attack_frame, attack_table
from sap.findings.attack_control import ALL, HOLDS, WITHOUT_TEETH, control_frame, control_table
from sap.findings.attack_explained import (
    AVERAGING,
    DILUTION,
    NOT_LOADED,
    PRIOR,
    WEAK,
    explained_frame,
    explained_table,
)
from sap.findings.attack_folds import ALL_DOMAINS, folds_frame, folds_table
from sap.findings.draw_attack import draw_attack_curve, draw_attack_heatmap
from sap.findings.scenarios import effect_of, minus, scenarios
from sap.report.catalogue import TABLES
from sap.report.exhibit import SUFFIXES
from sap.report.frame import load_results
from sap.report.style import styled
from sap.report.write import markdown, write_figure, write_table
from tests.report import attacked as made
from tests.report.attacked import BACKDOOR, DERANGEMENT, DOMAINS, make_attacked

MAKERS = {
    "attack_control": control_table,
    "attack": attack_table,
    "attack_folds": folds_table,
    "attack_explained": explained_table,
}
FIGURES = (draw_attack_curve, draw_attack_heatmap)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_attacked(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="module")
def frame(results):
    return attack_frame(results)


def held_out(results, point):
    rows = results.rows[(results.rows["domain"] == results.rows["target"]) & (results.rows["point"] == point)]
    return rows.set_index(["target", "seed"])["accuracy"]


def row_of(frame, **wanted):
    (row,) = frame[np.logical_and.reduce([frame[name] == value for name, value in wanted.items()])].to_dict("records")
    return row


def test_impact_is_the_mean_over_targets_attackers_and_seeds_of_clean_minus_attacked(results, frame):
    points = results.points
    (clean,) = points.index[(points["label"] == "SAP") & (points["attack"] == "")]
    attacked = points.index[(points["label"] == "SAP") & (points["attack"] == DERANGEMENT)]
    losses = pd.concat([held_out(results, clean) - held_out(results, point) for point in attacked]).dropna()
    assert len(losses) == 4 * 3 * 3  # targets × attackers that the fold holds × seeds
    row = row_of(frame, attack=DERANGEMENT, defence="SAP")
    assert row["impact"] == pytest.approx(losses.mean(), abs=1e-12)
    assert row["clean"] - row["attacked"] == pytest.approx(row["impact"], abs=1e-12)
    assert row["impact_low"] < row["impact"] < row["impact_high"]
    assert (row["attackers"], row["seeds"], row["images"]) == (4, 3, 4 * 80)


def test_recovery_is_the_share_of_the_plain_means_impact_that_a_defence_regains(frame):
    rows = frame[frame["attack"] == DERANGEMENT].set_index("defence")
    gained = rows.loc["SAP", "attacked"] - rows.loc["mean", "attacked"]
    assert rows.loc["SAP", "recovery"] == pytest.approx(gained / rows.loc["mean", "impact"])
    assert 0.3 < rows.loc["SAP", "recovery"] < 0.7  # it lets half of the harm through
    assert np.isnan(rows.loc["mean", "recovery"])
    assert set(rows["state"]) == {BITES}


def test_no_defence_is_credited_under_an_inert_attack(frame, results):
    rows = frame[frame["attack"] == made.WEAK]
    assert set(rows["state"]) == {INERT}
    assert rows["recovery"].isna().all()
    assert markdown(attack_table(results), "t").count(f"| {INERT} |") == len(rows)


def test_an_attack_that_hurts_some_seeds_and_helps_others_is_inert(tmp_path):
    luck = {0: 0.2, 1: -0.2, 2: 0.01}

    def accuracy(point, fold, domain, clients, seed):
        bent = point["attack"] == DERANGEMENT and point["settings"]["kind"] == "merge"
        return 0.5 - (luck[seed] if bent else 0.0)

    noisy = make_attacked(tmp_path, harm=(DERANGEMENT,), accuracy=accuracy, by_seed=True)
    assert set(attack_frame(noisy)["state"]) == {INERT}


def test_a_backdoor_is_judged_by_its_success_not_by_accuracy(frame):
    rows = frame[frame["attack"] == BACKDOOR].set_index("defence")
    assert set(rows["state"]) == {BITES}
    assert (rows["success"] > 0.6).all()
    assert (rows["clean_success"] < 0.2).all()
    assert rows.loc["SAP", "recovery"] == 0  # nobody stops the patch here, though accuracy is better
    assert frame.loc[frame["attack"] != BACKDOOR, "success"].isna().all()


def test_the_adaptive_attack_stands_behind_the_one_that_it_hides(frame):
    order = list(dict.fromkeys(frame["attack"]))
    assert order.index("adaptive") == order.index("sign_flip") + 1


def test_what_became_of_the_attacker_is_averaged_over_folds(frame):
    row = row_of(frame, attack=DERANGEMENT, defence="SAP")
    assert row["attacker_weight"] == pytest.approx(1 / 3)
    kept = [row[f"{who}_kept_{what}"] for who in ("attacker", "honest") for what in ("entries", "energy")]
    assert kept == pytest.approx([0.5, 0.9, 0.5, 0.8])
    assert np.isnan(row_of(frame, attack=DERANGEMENT, defence="mean")["attacker_kept_energy"])


def test_the_positive_control_holds_for_a_client_that_learned_wrong_labels(results):
    controls = control_frame(results)
    together = row_of(controls, attack=DERANGEMENT, client=ALL)
    single = controls[(controls["attack"] == DERANGEMENT) & (controls["client"] != ALL)]
    assert together["drop"] == pytest.approx(single["drop"].mean(), abs=1e-12)
    assert together["drop"] > 0.3
    assert together["verdict"] == HOLDS
    assert list(single["client"]) == list(DOMAINS)
    assert row_of(controls, attack=BACKDOOR, client=ALL)["verdict"].startswith(HOLDS)


def control_of(tmp_path, accuracy, **options):
    found = make_attacked(tmp_path, harm=(DERANGEMENT,), accuracy=accuracy, **options)
    return row_of(control_frame(found), attack=DERANGEMENT, client=ALL)


def test_an_adapter_that_was_not_loaded_is_without_teeth(tmp_path):
    def accuracy(point, *rest):
        return 0.5 if point["attack"] else made.model_accuracy(point, *rest)

    control = control_of(tmp_path, accuracy, wrong=1)  # wrong answers, too, are those of zero-shot
    assert control["changed"] < 0.05
    assert control["verdict"].startswith(f"{WITHOUT_TEETH}: the update hardly moves the model")


def test_a_client_that_still_learns_is_without_teeth(results):
    control = row_of(control_frame(results), attack=made.WEAK, client=ALL)
    assert (
        control["verdict"] == f"{WITHOUT_TEETH}: the client still learns the true classes and is better than zero-shot"
    )


def test_the_reported_average_is_that_of_own_and_other_domains(results):
    row = row_of(folds_frame(results), attack=DERANGEMENT, defence="mean", setting=ALL_DOMAINS)
    assert row["reported"] == pytest.approx((row["own"] + 3 * row["others"]) / 4, abs=1e-12)
    assert row["own"] > row["others"] > 0
    assert (row["clients"], row["attacker_weight"]) == (4, 0.25)
    product = row_of(folds_frame(results), attack=DERANGEMENT, defence="product_of_means", setting=ALL_DOMAINS)
    assert product["attacker_weight"] == pytest.approx(1 / 16)


def test_the_steps_of_every_chain_add_up(results):
    frame = explained_frame(results)
    assert frame["section"].nunique() == 5
    for _, lines in frame.groupby("section", sort=False):
        whole = lines["left"].iloc[0] - lines["left"].iloc[-1]
        assert lines["points"].sum() == pytest.approx(whole, abs=1e-12)
        assert lines["left"].iloc[-1] == lines["left"].iloc[-2]


def test_the_chain_ends_at_the_numbers_of_the_other_tables(results, frame):
    lines, folds = explained_frame(results), folds_frame(results)
    for defence in ("mean", "product_of_means"):
        ends = [lines[lines["section"].str.endswith(f", {defence}")]["left"].iloc[i] for i in (0, -1)]
        control = row_of(control_frame(results), attack=DERANGEMENT, client=ALL)
        assert ends[0] == pytest.approx(control["clean"] - control["attacked"], abs=1e-12)
        assert ends[1] == pytest.approx(row_of(frame, attack=DERANGEMENT, defence=defence)["impact"], abs=1e-12)
        everyone = lines[lines["section"] == f"all domains are clients and tested, {defence}"]["left"].iloc[-1]
        reported = row_of(folds, attack=DERANGEMENT, defence=defence, setting=ALL_DOMAINS)["reported"]
        assert everyone == pytest.approx(reported, abs=1e-12)


def explained(tmp_path, accuracy=None, **options):
    lines = explained_frame(make_attacked(tmp_path, harm=(DERANGEMENT,), accuracy=accuracy, **options))
    return lines[lines["section"].isin(["the attacker alone", "all domains are clients and tested, mean"])]


def holding(lines):
    return {name: bool(part["holds"].all()) for name, part in lines.groupby("explanation")}


def test_a_real_attack_that_is_diluted_is_explained_by_dilution_and_averaging(results):
    lines = explained_frame(results)
    expected = {NOT_LOADED: False, WEAK: False, PRIOR: False, DILUTION: True, AVERAGING: True}
    assert holding(
        lines[lines["section"].isin(["the attacker alone", "all domains are clients and tested, mean"])]
    ) == (expected)


def test_a_model_that_keeps_right_answers_is_explained_by_the_text_prior(tmp_path):
    def accuracy(point, *rest):
        stubborn = point["attack"] and point["settings"]["kind"] == "client"
        return 0.4 if stubborn else made.model_accuracy(point, *rest)

    lines = explained(tmp_path, accuracy)
    prior = lines[lines["explanation"] == PRIOR].iloc[0]
    assert prior["holds"]
    assert prior["points"] == pytest.approx(0.4, abs=0.05)


def test_an_unloaded_adapter_takes_all_points_of_the_first_section(tmp_path):
    def accuracy(point, *rest):
        return 0.5 if point["attack"] else made.model_accuracy(point, *rest)

    lines = explained(tmp_path, accuracy, wrong=1)
    points = lines.set_index("explanation")["points"]
    assert holding(lines)[NOT_LOADED]
    assert points[NOT_LOADED] == pytest.approx(0.5, abs=0.03)
    assert points[PRIOR] == 0


def test_a_small_update_is_explained_as_weak(tmp_path):
    lines = explained(tmp_path, lambda point, *rest: made.model_accuracy(point, *rest), poisoned_norm=0.2)
    assert holding(lines)[WEAK]
    assert lines.set_index("explanation")["points"][PRIOR] == 0


def test_a_merge_that_follows_the_attacker_is_not_explained_by_averaging(tmp_path):
    def accuracy(point, fold, domain, clients):
        return 0.1 if point["attack"] else 0.8

    assert holding(explained(tmp_path, accuracy)) == dict.fromkeys(
        (NOT_LOADED, WEAK, PRIOR, DILUTION, AVERAGING), False
    )


def test_levels_over_different_domains_subtract_to_the_difference_of_their_means():
    rng = np.random.default_rng(0)
    left = {name: rng.random((3, 40)) for name in "ab"}
    right = {name: rng.random((3, 40)) for name in "bcd"}
    difference = effect_of(minus(left, right)).estimate
    expected = np.mean([array.mean() for array in left.values()]) - np.mean([array.mean() for array in right.values()])
    assert difference == pytest.approx(expected, abs=1e-12)


def test_attackers_that_agree_on_an_image_do_not_count_as_more_images(results):
    plain = scenarios(results, DERANGEMENT)[0]
    (row,) = attack_frame(results).query("attack == @DERANGEMENT and defence == 'mean'").to_dict("records")
    assert len(plain.points) == 4
    assert row["images"] == 4 * 80


def test_several_clients_of_a_domain_all_own_it(tmp_path):
    several = make_attacked(tmp_path, harm=(DERANGEMENT,), clients_per_domain=2, images=40, seeds=(0, 1))
    row = row_of(folds_frame(several), attack=DERANGEMENT, defence="mean", setting=ALL_DOMAINS)
    assert row["clients"] == 8
    assert row["own"] > row["others"]
    assert row["reported"] == pytest.approx((2 * row["own"] + 6 * row["others"]) / 8, abs=1e-12)


def test_a_lost_row_makes_its_cells_missing(tmp_path):
    plan = made.write_attacked(tmp_path, harm=(DERANGEMENT,))
    whole = load_results(plan)
    (victim,) = whole.points.index[(whole.points["label"] == "SAP") & (whole.points["attackers"] == ("photo",))]
    path = tmp_path / "results/evaluate/e/sketch/seed-1/shard-0/rows.jsonl"
    path.write_text(
        "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if f'"{victim}"' not in line),
        encoding="utf-8",
    )
    damaged = attack_frame(load_results(plan))
    assert np.isnan(row_of(damaged, attack=DERANGEMENT, defence="SAP")["impact"])
    assert row_of(damaged, attack=DERANGEMENT, defence="mean")["impact"] > 0
    assert "missing" in markdown(attack_table(load_results(plan)), "t")


def test_an_explanation_without_its_predictions_is_missing_and_neither_holds_nor_fails(tmp_path):
    plan = made.write_attacked(tmp_path, harm=(DERANGEMENT,))
    for path in tmp_path.glob("results/evaluate/e/none/seed-*/shard-0/rows.jsonl"):
        path.write_text(
            "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if '"client"' not in line),
            encoding="utf-8",
        )
    table = explained_table(load_results(plan))
    judged = table.frame[table.frame["explanation"].notna()]
    unknown = judged[judged["points"].isna()]
    assert len(unknown) > 0
    assert unknown["holds"].isna().all()
    printed = next(column.cell for column in table.columns if column.header == "holds")
    assert {printed(row) for _, row in unknown.iterrows()} == {"missing"}


@pytest.mark.parametrize("name", MAKERS)
def test_an_experiment_without_attacks_says_so_in_one_sentence(name, tmp_path):
    clean = make_attacked(tmp_path, harm=())
    table = MAKERS[name](clean)
    assert table.frame.empty
    assert markdown(table, TABLES[name].title) == f"# {TABLES[name].title}\n\n{table.empty}\n"


def test_without_the_fold_of_everyone_the_held_out_impact_still_stands(tmp_path):
    plain = make_attacked(tmp_path, harm=(DERANGEMENT,), everyone=False)
    assert row_of(attack_frame(plain), attack=DERANGEMENT, defence="mean")["impact"] > 0
    for make in (control_table, folds_table, explained_table, *FIGURES):
        make(plain)


def test_tables_and_figures_are_the_same_bytes_again(results, tmp_path):
    for again in ("a", "b"):
        for name, make in MAKERS.items():
            write_table(make(results), TABLES[name].title, name, tmp_path / again)
        with styled():
            for draw in FIGURES:
                write_figure(draw(results), draw.__name__, tmp_path / again)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == len(SUFFIXES["table"]) * len(MAKERS) + len(SUFFIXES["figure"]) * len(FIGURES)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_the_curve_marks_the_weights_of_common_averages(results):
    with styled():
        figure = draw_attack_curve(results)
    for axes in figure.axes:
        assert {"1/16", "1/4", "1/3", "1"} <= {label.get_text() for label in axes.get_xticklabels()}


def test_twenty_attacks_on_twelve_defences_fit_the_map(tmp_path):
    harm = [DERANGEMENT, *(f"attack_{index} 50 % (strength 10)" for index in range(19))]
    defences = ["mean", *(f"some_defence_{index} (unit layer)" for index in range(11))]
    accuracy = functools.partial(lambda point, *rest: 0.3 if point["attack"] == DERANGEMENT else 0.6)
    many = make_attacked(
        tmp_path, harm=harm, defences=defences, images=20, seeds=(0, 1), accuracy=accuracy, classes=345
    )
    with styled():
        (axes,) = draw_attack_heatmap(many).axes
    assert len(axes.get_xticklabels()) == 12
    assert len(axes.get_yticklabels()) == 20
    assert sum(len(patch.get_path().vertices) > 0 and patch.get_facecolor()[3] > 0 for patch in axes.patches) == 19


def test_what_was_not_asked_stays_hatched_under_an_inert_attack(frame, results, monkeypatch):
    asked = frame[(frame["attack"] != made.WEAK) | (frame["defence"] != "SAP")]
    monkeypatch.setattr(draw_attack, "attack_frame", lambda _: asked)
    with styled():
        (axes,) = draw_attack_heatmap(results).axes
    (hatched,) = [patch for patch in axes.patches if patch.get_hatch()]
    (grey,) = [patch for patch in axes.patches if patch.get_facecolor()[3] > 0]
    assert axes.images[0].get_zorder() < grey.get_zorder() < hatched.get_zorder()
