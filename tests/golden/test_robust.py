"""Reference values of the robust rules (../shared/golden): ByzFL, Flower, SciPy, torch, numpy transcriptions."""

from itertools import combinations

import pytest
import torch

from sap.config import parse
from sap.merge import _robust, bulyan, clipping, dnc, fltrust, mda
from sap.merge._api import METHODS
from sap.merge.geometric_median import weiszfeld
from sap.merge.krum import Options as KrumOptions
from sap.merge.krum import count_neighbours
from sap.merge.mixing import neighbours
from sap.update import stacks
from tests.golden import golden

pytestmark = golden.needs_golden

LIMIT = object()  # the clip norm of the set
# case -> (method, options); clients are those of the record
CASES = {
    "median_n7": ("median", {}),
    "median_n4": ("median", {}),
    "median_lower_n7": ("median", {"even": "lower"}),
    "median_lower_n4": ("median", {"even": "lower"}),
    "trimmed_mean_n7_f1": ("trimmed_mean", {"f": 1}),
    "trimmed_mean_n7_f2": ("trimmed_mean", {"f": 2}),
    "trimmed_mean_n4_f1": ("trimmed_mean", {"f": 1}),
    "meamed_n7_f1": ("mean_around_median", {"f": 1}),
    "meamed_n7_f2": ("mean_around_median", {"f": 2}),
    "meamed_n4_f1": ("mean_around_median", {"f": 1}),
    "krum_n7_f1": ("krum", {"f": 1}),
    "krum_n7_f2": ("krum", {"f": 2}),
    "krum_n4_f1": ("krum", {"f": 1, "neighbours": "flower"}),
    "krum_byzfl_n7_f1": ("krum", {"f": 1, "neighbours": "byzfl"}),
    "krum_byzfl_n7_f2": ("krum", {"f": 2, "neighbours": "byzfl"}),
    "krum_byzfl_n4_f1": ("krum", {"f": 1, "neighbours": "byzfl"}),
    "multikrum_n7_f1_m6": ("multi_krum", {"f": 1, "m": 6}),
    "multikrum_n7_f2_m5": ("multi_krum", {"f": 2, "m": 5}),
    "multikrum_n7_f2_m3": ("multi_krum", {"f": 2, "m": 3}),
    "multikrum_byzfl_n7_f1": ("multi_krum", {"f": 1, "neighbours": "byzfl"}),
    "multikrum_byzfl_n7_f2": ("multi_krum", {"f": 2, "neighbours": "byzfl"}),
    "multikrum_byzfl_n4_f1": ("multi_krum", {"f": 1, "neighbours": "byzfl"}),
    "mda_n7_f1": ("mda", {"f": 1}),
    "mda_n7_f2": ("mda", {"f": 2}),
    "mda_n4_f1": ("mda", {"f": 1}),
    "bulyan_iterative_n7_f1": ("bulyan", {"f": 1}),
    "bulyan_oneshot_n7_f1": ("bulyan", {"f": 1, "selection": "one_shot"}),
    "nnm_trimmed_mean_n7_f1": ("nearest_neighbour_mixing", {"f": 1}),
    "nnm_trimmed_mean_n7_f2": ("nearest_neighbour_mixing", {"f": 2}),
    "arc_mean_n7_f1": ("arc", {"f": 1}),
    "arc_mean_n7_f2": ("arc", {"f": 2}),
    "geometric_median_nu0.1_T3": ("geometric_median", {"nu": 0.1, "steps": 3}),
    "geometric_median_converged": ("geometric_median", {}),
    "geometric_median_weighted": ("geometric_median", {"weights": "samples"}),
    "clip_mean_n7": ("norm_clipping", {"clip": LIMIT}),
    "centered_clipping_L1": ("centred_clipping", {"tau": LIMIT, "steps": 1}),
    "centered_clipping_L3": ("centred_clipping", {"tau": LIMIT, "steps": 3}),
    "monna_pivot0_n7_f2": ("monna", {"f": 2, "pivot": "client0"}),
    "fltrust_model": ("fltrust", {"norm": "root"}),
    "fltrust_layer": ("fltrust", {"norm": "root", "unit": "layer"}),
    "dnc_all_coordinates_n7_f1": ("dnc", {"f": 1}),
    "dnc_all_coordinates_n7_f2": ("dnc", {"f": 2}),
}


def cohort(case_id, kind="factors"):
    return golden.clients(golden.cases()[case_id]["clients"], kind)


def distances(case_id) -> torch.Tensor:
    return _robust.squared_distances(_robust.gram(stacks(cohort(case_id))))


@pytest.mark.parametrize("kind", ["factors", "dense"])
@pytest.mark.parametrize("case_id", CASES)
def test_the_reference_value_is_reproduced(case_id, kind):
    name, options = CASES[case_id]
    updates = cohort(case_id, kind)
    options = {key: golden.document()["clip_norm"] if value is LIMIT else value for key, value in options.items()}
    method, counts = METHODS[name], dict(zip(updates, golden.document()["sample_counts"], strict=False))
    found = method.merge(stacks(updates, counts, golden.extras()), parse(method.options, options, name))
    tied = golden.cases()[case_id].get("tied_selections")
    if tied is None:
        golden.check(case_id, found)
    else:
        chosen = [updates[f"client{k}"] for k in tied]
        assert any(all(torch.equal(found.dense(layer), one.dense(layer)) for layer in one) for one in chosen)


@pytest.mark.parametrize("case_id", [case_id for case_id, (name, _) in CASES.items() if name == "krum"])
def test_krum_scores_and_choice_are_those_of_the_reference(case_id):
    case, options = golden.cases()[case_id], KrumOptions(**CASES[case_id][1])
    count = count_neighbours(len(case["clients"]), options)
    assert count == case["neighbours"]
    table, names = distances(case_id), list(cohort(case_id))
    assert _robust.krum_scores(table, count)[0].tolist() == pytest.approx(case["scores"], rel=1e-6)
    assert _robust.krum_order(table, count, names)[0] in case.get("tied_selections", case["selected"])


@pytest.mark.parametrize("case_id", [case_id for case_id, (name, _) in CASES.items() if name == "multi_krum"])
def test_multi_krum_chooses_the_clients_of_the_reference(case_id):
    case, given = golden.cases()[case_id], CASES[case_id][1]
    count = count_neighbours(len(case["clients"]), KrumOptions(given["f"], given.get("neighbours", "paper")))
    order = _robust.krum_order(distances(case_id), count, list(cohort(case_id)))
    assert sorted(order[: case["options"]["m"]]) == case["selected"]


@pytest.mark.parametrize("case_id", [case_id for case_id in CASES if case_id.startswith(("mda", "bulyan", "dnc"))])
def test_subset_rules_choose_the_clients_of_the_reference(case_id):
    case, (name, options) = golden.cases()[case_id], CASES[case_id]
    names, f = list(cohort(case_id)), options["f"]
    if name == "mda":
        found = mda.tightest(distances(case_id), len(names) - f, names)
    elif name == "bulyan":
        found = bulyan.select(distances(case_id), f, names, options.get("selection", "iterated"))
    else:
        found = dnc.kept(_robust.gram(stacks(cohort(case_id))), len(names) - f, names)
    assert found == case["selected"]


def test_monna_averages_the_clients_around_the_pivot():
    """The golden tensor is the mean of five clients, and of no other five."""
    case_id = "monna_pivot0_n7_f2"
    updates, layer = cohort(case_id, "dense"), golden.layers()[0]
    want = golden.expected()[f"{golden.cases()[case_id]['tensors']}.{layer}"]
    deltas = torch.stack([update.dense(layer) for update in updates.values()])
    averaged = [five for five in combinations(range(7), 5) if torch.allclose(deltas[list(five)].mean(0), want)]
    assert [tuple(sorted(neighbours(distances(case_id), 0, 5, list(updates))))] == averaged


@pytest.mark.parametrize(("case_id", "f"), [("arc_mean_n7_f1", 1), ("arc_mean_n7_f2", 2)])
def test_arc_clips_where_the_reference_does(case_id, f):
    found = clipping.adaptive_limit(_robust.norms(stacks(cohort(case_id))), f)
    assert found == pytest.approx(golden.cases()[case_id]["clip"], rel=1e-6)


def test_norms_are_those_of_the_reference():
    found = _robust.norms(stacks(cohort("clip_mean_n7")))
    assert found.tolist() == pytest.approx(golden.cases()["clip_mean_n7"]["norms"], rel=1e-6)


def test_trust_is_that_of_the_reference():
    made = stacks(cohort("fltrust_model"), None, golden.extras())
    tables = {layer: fltrust.products(made[layer]) for layer in made}
    whole = fltrust.trust(torch.stack(list(tables.values())).sum(0))
    assert whole.tolist() == pytest.approx(golden.cases()["fltrust_model"]["trust"], rel=1e-5)
    for layer, trust in golden.cases()["fltrust_layer"]["trust"].items():
        assert fltrust.trust(tables[layer]).tolist() == pytest.approx(trust, rel=1e-5)


def test_the_geometric_median_is_closer_to_the_clients_than_their_mean():
    case = golden.cases()["geometric_median_converged"]
    products = _robust.gram(stacks(cohort("geometric_median_converged")))
    uniform = torch.full((7,), 1 / 7, dtype=torch.float64)

    def objective(weights):
        return float(_robust.distances_from(products, weights).mean())

    assert objective(weiszfeld(products, uniform)) == pytest.approx(case["objective"], rel=1e-6)
    assert objective(uniform) == pytest.approx(case["objective_of_mean"], rel=1e-6)
