import json
import shutil

import numpy as np
import pytest

from sap.findings.summary import summary_page
from sap.io import save_tensors
from sap.report.frame import load_results
from sap.report.style import styled
from sap.report.write import markdown
from sap.stages.headroom.exhibits import (
    bed_sentence,
    can_show,
    draw_headroom,
    headroom_frame,
    headroom_table,
    sentence,
    terciles,
)
from sap.stats.bed import NO_TRANSFER, TRANSFER
from tests.report.synthetic import DOMAINS, write_experiment


@pytest.fixture
def copy(plan, tmp_path):
    shutil.copytree(plan.parents[1], tmp_path / "results")
    return tmp_path / "results/plans" / plan.name


def test_the_headroom_needs_nothing_but_its_own_jobs(copy, results):
    for stage in ("evaluate", "audit", "train_client", "score_client", "diagnose"):
        shutil.rmtree(copy.parents[1] / stage)
    assert headroom_frame(load_results(copy)).equals(headroom_frame(results))


def test_copies_across_splits_and_domains_are_counted_below_the_table(copy):
    lines = {
        "handwritten": ["train,1,a", "test,2,a", "val,3,a", "test,4,b"],  # near: train-test, train-val, test-val
        "blended": ["train,1,a", "test,5,c"],
    }
    plan = json.loads(copy.read_text(encoding="utf-8"))
    for item in plan["jobs"]["prepare_domain"]:
        if item["domain"] in lines:
            text = "\n".join(["split,digest,phash", *lines[item["domain"]]]) + "\n"
            (copy.parents[2] / item["folder"] / "index.csv").write_text(text, encoding="utf-8")
    notes = headroom_table(load_results(copy)).notes
    assert "Near duplicates in different splits of one domain, pairs: handwritten 3; blended 0." in notes
    assert "In different domains: 1 pairs of identical images, 2 more pairs of near duplicates." in notes


def test_every_domain_counts_the_same_in_the_last_row(results):
    frame = headroom_frame(results).set_index("domain")
    assert list(frame.index) == [*DOMAINS, "all domains"]
    for column in ("zero_shot", "probe", "pooled", "oracle"):
        assert frame.loc["all domains", column] == pytest.approx(frame.loc[list(DOMAINS), column].mean())
    assert frame.loc["all domains", "n"] == frame.loc[list(DOMAINS), "n"].sum()
    assert frame.loc["all domains", "detectable"] < frame.loc[list(DOMAINS), "detectable"].min()


def test_room_terciles_and_detectable_differences_of_six_images(copy):
    """Zero-shot is right on the three best aligned; pooled on one more, oracle on all.

    Six images show nothing, whether one differs or not: an effect would have to change 7.85 of them.
    """
    arrays = {
        "labels": np.zeros(6, np.int16),
        "alignment": np.array([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], np.float32),
        "zero_shot": np.array([1, 1, 1, 0, 0, 0], np.uint8),
        "probe": np.ones(6, np.uint8),
        "pooled": np.array([[1, 1, 1, 1, 0, 0]], np.uint8),
        "oracle": np.ones((1, 6), np.uint8),
        "reachable": np.array([[1, 1, 1, 1, 1, 0]], np.uint8),
        "scale": np.array([0.75], np.float32),
    }
    for seed in range(3):
        save_tensors(copy.parents[1] / f"headroom/h/printed/seed-{seed}/headroom.safetensors", arrays)
    row = headroom_frame(load_results(copy)).set_index("domain").loc["printed"]
    assert (row["n"], row["seeds"]) == (6, 3)
    assert row["room"] == pytest.approx(0.5)
    assert (row["reachable"], row["scale"]) == (pytest.approx(2 / 6), 0.75)
    assert [row[f"zero_shot__{name}"] for name in ("low", "middle", "high")] == [0, 0.5, 1]
    assert [row[f"pooled__{name}"] for name in ("low", "middle", "high")] == [0, 1, 1]
    assert row["differ"] == pytest.approx(1 / 6)
    assert row["detectable_mcnemar"] == pytest.approx((1.959964 + 0.841621) ** 2 / 6, rel=1e-5)


def test_ceilings_that_answer_as_zero_shot_does_are_no_proof_that_every_effect_would_be_seen(copy):
    right = np.arange(99) % 3 > 0
    arrays = {"labels": np.zeros(99, np.int16), "alignment": np.linspace(0, 0.5, 99, dtype=np.float32)}
    arrays |= {"zero_shot": right.astype(np.uint8), "probe": np.ones(99, np.uint8)}
    arrays |= dict.fromkeys(("pooled", "oracle", "reachable"), right.astype(np.uint8)[None])
    arrays |= {"scale": np.ones(1, np.float32)}
    for seed in range(3):
        save_tensors(copy.parents[1] / f"headroom/h/printed/seed-{seed}/headroom.safetensors", arrays)
    row = headroom_frame(load_results(copy)).set_index("domain").loc["printed"]
    assert (row["room"], row["differ"]) == (0, 0)
    assert -row["room_low"] == row["room_high"] == pytest.approx(3.84 / 99, rel=0.001)
    assert row["detectable_mcnemar"] == pytest.approx(7.85 / 99, rel=0.001)
    assert row["room_high"] < row["detectable"] < 0.12
    assert row["probe_low"] < row["probe"] == row["probe_high"] == 1
    assert "cannot show an effect of 1 point" in row["sentence"]


def test_terciles_are_ordered_thirds_of_all_images():
    thirds = terciles(np.array([0.3, 0.1, 0.2, 0.9, 0.8, 0.7, 0.05]))
    assert [sorted(third) for third in thirds] == [[1, 2, 6], [0, 5], [3, 4]]


@pytest.mark.parametrize(
    ("room", "detectable", "can", "said"),
    [
        (0.14, 0.005, True, "can show an effect of 1 point"),
        (
            0.14,
            0.02,
            False,
            "cannot show an effect of 1 point (room 14.0, smallest difference that would be found 2.0); one",
        ),
        (0.008, 0.002, False, "nor a larger one: that would need a room of 1.0."),
        (0.015, 0.009, False, "nor a larger one: that would need a room of 1.8."),
        (np.nan, 0.01, False, "not known yet"),
    ],
)
def test_an_effect_can_be_shown_where_room_and_resolution_allow_it(room, detectable, can, said):
    assert can_show(0.01, room, detectable) is can
    assert said in sentence("sketch", 0.01, room, detectable)


def test_a_job_that_is_not_done_leaves_its_ceilings_missing(copy):
    shutil.rmtree(copy.parents[1] / "headroom/h/printed/seed-1")
    table = headroom_table(load_results(copy))
    row = table.frame.set_index("domain").loc["printed"]
    assert np.isnan([row["pooled"], row["room"], row["reachable"], row["scale"], row["detectable"]]).all()
    assert row["zero_shot"] > 0
    assert "printed: not known yet" in markdown(table, "Headroom")


def test_some_domains_are_not_called_all(copy):
    shutil.rmtree(copy.parents[1] / "headroom/h/printed")
    assert list(headroom_frame(load_results(copy))["domain"]) == list(DOMAINS[:3])


def test_an_experiment_without_headroom_says_so(bare):
    assert "holds no headroom" in markdown(headroom_table(bare), "Headroom")


@pytest.mark.parametrize("domains", [("a", "b"), tuple("abcdef")])
def test_the_figure_has_one_panel_per_domain(domains, tmp_path):
    results = load_results(write_experiment(tmp_path, domains=domains, seeds=(0, 1), views=("main",)))
    with styled():
        figure = draw_headroom(results)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert [title.split(",")[0] for title in titles] == list(domains)


def test_transfer_is_pooled_less_zero_shot_and_the_last_note_says_what_kind_of_bed_that_is(results):
    frame = headroom_frame(results)
    assert np.allclose(frame["transfer"], frame["pooled"] - frame["zero_shot"])
    last = frame.iloc[-1]
    assert last["transfer_low"] > 0
    assert last["bed"] == TRANSFER
    said = bed_sentence(last)
    assert said.startswith("all domains: sources transfer (pooled training on the sources changes zero-shot by +")
    assert said in headroom_table(results).notes
    unknown = {**last, "transfer": np.nan}
    assert bed_sentence(unknown).startswith("all domains: whether the sources transfer is not known yet")
    turned = {**last, "bed": NO_TRANSFER}
    assert "whatever shrinks the update leads" in bed_sentence(turned)
    assert f"- bed: {said}" in summary_page(results)
