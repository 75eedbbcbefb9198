"""Reference values of pruning and of the basic merges (../shared/golden), through the Composer."""

import pytest
import torch

from sap.compose import Composer
from tests.golden import golden

pytestmark = golden.needs_golden

MEAN = {"merge": {"method": "mean"}}
WEIGHTS = {"weighted_mean": [0.1, 0.25, 0.05, 0.6], "ties": [1, 2, 0.5, 1.5], "counts": None}  # counts: the set's own
NEGATED = {"prune_signed_drop_negative_layer_rho0.5"}  # drops the most negative w·g first: our rule for -g


def ties(**options):
    return {"merge": {"method": "ties", **options}}


def pruned(criterion, ratio, merge="mean", **more):
    return {"criterion": criterion, "prune_ratio": ratio, "merge": {"method": merge}, **more}


def taylor(ratio, **more):
    return pruned("taylor_absolute", ratio, **more)


SCOPES = {"layer": "layer", "global": "model", "row": "row"}
# case -> (point, client weights)
CASES = {
    "mean_of_products": (MEAN, None),
    "mean_svd_rank_Kr": (MEAN, None),
    "weighted_mean": ({"merge": {"method": "weighted_mean"}}, "weighted_mean"),
    "flora_stacking": ({"merge": {"method": "weighted_mean"}}, "weighted_mean"),
    "product_of_means": ({"merge": {"method": "product_of_means"}}, "weighted_mean"),
    "product_of_means_weighted": ({"merge": {"method": "product_of_means", "weights": "samples"}}, "weighted_mean"),
    "peft_linear_w_mean": ({"merge": {"method": "product_of_means"}, "scale": 4.0}, None),
    "task_arithmetic_lam0.3": ({"merge": {"method": "sum"}}, None),
    "task_arithmetic_lam1": ({"merge": {"method": "sum", "scale": 1.0}}, None),
    "ties_tensor_d0.2_total": (ties(), None),
    "ties_tensor_d0.2_frequency": (ties(elect="frequency"), None),
    "ties_tensor_d0.5_total": (ties(density=0.5), None),
    "ties_tensor_d0.5_frequency": (ties(density=0.5, elect="frequency"), None),
    "ties_tensor_d0.7_total": (ties(density=0.7), None),
    "ties_tensor_d0.7_frequency": (ties(density=0.7, elect="frequency"), None),
    # the golden weights sum to 5 over 4 clients; ours are K · share, so the unnormalised results differ by 5/4
    "ties_weighted_peft": (ties(density=0.5, weights="samples_after_election") | {"scale": 1.25}, "ties"),
    "ties_weighted_mergekit": (ties(density=0.5, weights="samples"), "ties"),
    "ties_weighted_mergekit_sum": (ties(density=0.5, weights="samples", average="sum") | {"scale": 1.25}, "ties"),
    "ties_tensor_d0.5_lam0.3": (ties(density=0.5) | {"scale": 0.3}, None),
    "ties_global_k20_mean": (ties(trim="model", kept="inclusive"), None),
    "ties_global_k20_sum": (ties(trim="model", kept="inclusive", average="sum"), None),
    "ties_global_k20_max": (ties(trim="model", kept="inclusive", average="max"), None),
    "ties_global_k50_mean": (ties(trim="model", kept="inclusive", density=0.5), None),
    "ties_global_k50_sum": (ties(trim="model", kept="inclusive", density=0.5, average="sum"), None),
    "ties_global_k70_mean": (ties(trim="model", kept="inclusive", density=0.7), None),
    "ties_tensor_geq_k20_mean": (ties(kept="inclusive"), None),
    # its 0.2 is what stays, rounded down, as with any prune_top
    "magnitude_d0.2_mean": (pruned("magnitude", 0.8, prune_top=1e-9), None),
    "magnitude_d0.5_mean": (pruned("magnitude", 0.5), None),
    "magnitude_svd_d0.5_rank_2r": (pruned("magnitude", 0.5), None),
    "magnitude_d0.5_l1rescale_mean": (pruned("magnitude", 0.5, rescale="l1"), None),
    "magnitude_d0.5_l2rescale_mean": (pruned("magnitude", 0.5, rescale="frobenius"), None),
    # peft puts √w on both factors: K times the product of means
    "magnitude_factors_d0.5": (
        pruned("magnitude", 0.5, space="factors", merge="product_of_means") | {"scale": 4.0},
        None,
    ),
    "prune_magnitude_global_rho0.5": (pruned("magnitude", 0.5, scope="model"), None),
    "prune_signed_drop_positive_layer_rho0.5": (pruned("taylor_signed", 0.5), None),
    "prune_signed_drop_positive_global_rho0.2": (pruned("taylor_signed", 0.2, scope="model"), None),
    "prune_signed_drop_negative_layer_rho0.5": (pruned("taylor_signed", 0.5), None),
    "prune_gradsq_layer_rho0.5": (pruned("gradient_squared", 0.5), None),
    "prune_gradsq_global_rho0.9": (pruned("gradient_squared", 0.9, scope="model"), None),
    "prune_obd_layer_rho0.2": (pruned("obd", 0.2), None),
    "prune_obd_layer_rho0.5": (pruned("obd", 0.5), None),
    "prune_obd_global_rho0.5": (pruned("obd", 0.5, scope="model"), None),
    "prune_wanda_row_rho0.5": (pruned("wanda", 0.5, scope="row"), None),
    "prune_taylor_layer_rho0.5_frob": (taylor(0.5, rescale="frobenius"), None),
    "prune_taylor_layer_rho0.9_frob": (taylor(0.9, rescale="frobenius"), None),
    "prune_taylor_layer_rho0.5_inv": (taylor(0.5, rescale="inverse_density"), None),
    "prune_taylor_layer_rho0.9_inv": (taylor(0.9, rescale="inverse_density"), None),
    "prune_taylor_global_rho0.5_frob_model": (taylor(0.5, scope="model", rescale="frobenius_model"), None),
    "prune_taylor_layer_rho0.5_weighted": (taylor(0.5, merge="weighted_mean"), "counts"),
    "prune_taylor_factors_rho0.5": (taylor(0.5, space="factors"), None),
    "opnp_two_sided_d0.8_g0.05": (taylor(0.2, prune_top=0.05), None),
    "opnp_two_sided_d0.6_g0.1": (taylor(0.4, prune_top=0.1), None),
    **{
        f"prune_taylor_{name}_rho{ratio}": (taylor(ratio, scope=scope), None)
        for name, scope in SCOPES.items()
        for ratio in (0.2, 0.5, 0.9)
    },
    **{
        f"prune_taylor_{name}_rho{ratio}_round": (taylor(ratio, scope=SCOPES[name], count="round"), None)
        for name in ("layer", "global")
        for ratio in (0.2, 0.5, 0.9)
    },
}


def composer(weights=None, sign=1, shared_a=False):
    updates = golden.clients(shared_a=shared_a)
    shares = weights and (WEIGHTS[weights] or golden.document()["sample_counts"])
    counts = weights and dict(zip(updates, shares, strict=False))
    gradients = {c: {layer: sign * golden.side("grad", k, layer) for layer in golden.layers()} for k, c in numbered()}
    statistics = {
        c: {f"{layer}/{kind}": golden.side(kind, k, layer) for layer in golden.layers() for kind in ("fisher", "gram")}
        for k, c in numbered()
    }
    return Composer(
        updates,
        counts,
        gradients=lambda settings, client: gradients[client],
        statistics=lambda settings, client: statistics[client],
    )


def numbered():
    return enumerate(golden.clients())


@pytest.mark.parametrize("case_id", CASES)
def test_the_composer_gives_the_golden_tensors(case_id):
    point, weights = CASES[case_id]
    rank = golden.cases()[case_id]["options"].get("rank")
    point = point | ({"rank": rank} if rank else {})
    golden.check(case_id, composer(weights, sign=-1 if case_id in NEGATED else 1).merge(point))


def test_masks_keep_the_golden_entries():
    """The one case whose masks themselves are stored, and every case that lists its counts."""
    composers = {case_id in NEGATED: composer(sign=-1 if case_id in NEGATED else 1) for case_id in CASES}
    stored = {name for name in golden.expected() if name.startswith("mask.")}
    counted, compared = set(), set()
    for case_id, (point, _) in CASES.items():
        for name, count in golden.cases()[case_id].get("kept", {}).items():
            client, layer = name.split(".")
            keep = composers[case_id in NEGATED].prune(point, client).dense(layer) != 0
            assert int(keep.sum()) == count
            counted.add(case_id)
            mask = f"mask.{case_id}.{client}.{layer}"
            if mask in stored:
                assert torch.equal(keep, golden.expected()[mask].bool())
                compared.add(mask)
    assert compared == stored
    assert len(counted) > 30


@pytest.mark.parametrize("case_id", ["ffa_shared_A_linear", "ffa_shared_A_mean"])
@pytest.mark.parametrize("method", ["mean", "product_of_means"])
def test_with_a_shared_a_both_averages_are_the_golden_one(case_id, method):
    golden.check(case_id, composer(shared_a=True).merge({"merge": {"method": method}}))


def test_fedex_residual_is_the_difference_of_the_averages():
    product = composer().merge({"merge": {"method": "product_of_means"}})
    golden.check("fedex_residual", composer().merge(MEAN) + product.scaled(-1))


def test_definitions_that_differ_do_differ():
    """Pairs that share a name in the literature but not a value."""
    for pair in golden.document()["definition_variants_that_differ"]:
        if all(pair[x] in CASES and not CASES[pair[x]][1] for x in "ab"):
            a, b = (composer().merge(CASES[pair[x]][0]) for x in "ab")
            distance = (a + b.scaled(-1)).norm() / b.norm()
            assert distance == pytest.approx(pair["relative_frobenius_difference"], rel=1e-4)
