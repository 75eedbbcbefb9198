"""Golden cases of truncation and of the methods that merge in a subspace."""

import pytest
import torch

from sap.compose import Composer
from sap.lowrank import truncate
from sap.update import Update
from tests.golden import golden

pytestmark = golden.needs_golden

SUM = {"average": "sum"}
INCLUSIVE = {"kept": "inclusive"}
ADAM = {"solver": "adam", "lr": 1e-5, "absolute_lr": True}


def method(name, kind="factors", **options):
    return lambda: golden.merged(name, golden.clients(kind=kind), **options)


def dense(name, **options):
    """The same on exact products B · A; rounded to float32 they would move Iso-CTS by 8e-5."""

    def run():
        updates = {client: update.to(torch.float64) for client, update in golden.clients().items()}
        made = {client: Update({layer: update.dense(layer) for layer in update}) for client, update in updates.items()}
        return golden.merged(name, made, **options)

    return run


def truncated(multiple, make):
    """Cut to this multiple of the adapters' rank."""

    def run():
        rank = multiple * golden.document()["rank"]
        return Update({layer: truncate(entry, rank)[0] for layer, entry in make().items()})

    return run


def pruned():
    point = {"criterion": "magnitude", "prune_ratio": 0.5, "merge": {"method": "mean"}}
    return Composer(golden.clients()).merge(point)


def released(**options):
    return method("robustmerge", variant="released", scale=2.0, **options)


CASES = {
    "mean_svd_rank_r": truncated(1, method("mean")),
    "mean_svd_rank_2r": truncated(2, method("mean")),
    "mean_svd_rank_Kr": truncated(4, method("mean")),
    "ties_svd_d0.5_rank_r": truncated(1, method("ties", density=0.5)),
    "magnitude_svd_d0.5_rank_2r": truncated(2, pruned),
    "knots_mean": method("knots", inner="mean"),
    "knots_ties_global_k20": method("knots", **INCLUSIVE),
    "knots_ties_global_k50": method("knots", density=0.5, **INCLUSIVE),
    "knots_ties_layer_k20": method("knots", trim="layer", **INCLUSIVE),
    "core_ties_k10_mean": method("core", density=0.1, **INCLUSIVE),
    "core_ties_k50_mean": method("core", density=0.5, **INCLUSIVE),
    "tsvm_rank_r": method("tsv_m", **SUM),
    "tsvm_full": method("tsv_m", "full", dense=True, **SUM),
    "core_tsvm_iso": method("tsv_m", isotropic=True, **SUM),
    "iso_c_core": method("iso_c", **SUM),
    "iso_c_full": method("iso_c", "full", dense=True, **SUM),
    "iso_cts_core": method("iso_cts", **SUM),
    "iso_cts_full": method("iso_cts", "full", dense=True, **SUM),
    "wudi_adam300": method("wudi", **ADAM, **SUM),
    "wudi_closed_form_full": method("wudi", "full", ridge=0.0, **SUM),
    "wudi_closed_form_ridge1e-2": method("wudi", ridge=0.01, **SUM),
    "robustmerge_paper_keep0.2": method("robustmerge", scale=2.0),
    "robustmerge_paper_keep0.5": method("robustmerge", scale=2.0, keep=0.5),
    "robustmerge_released_keep0.2": released(),
    "robustmerge_released_keep0.5": released(keep=0.5),
    "robustmerge_released_keep0.5_att0.5": released(keep=0.5, clamp_level=0.5),
    "robustmerge_released_keep0.5_noclamp": released(keep=0.5, clamp_level=None),
}
# the same results from updates that arrive dense, without factors
DENSE = {
    "mean_svd_rank_r": truncated(1, dense("mean")),
    "mean_svd_rank_2r": truncated(2, dense("mean")),
    "knots_ties_global_k20": dense("knots", **INCLUSIVE),
    "tsvm_rank_r": dense("tsv_m", **SUM),
    "core_tsvm_iso": dense("tsv_m", isotropic=True, **SUM),
    "iso_c_core": dense("iso_c", **SUM),
    "iso_cts_core": dense("iso_cts", **SUM),
    "wudi_adam300": dense("wudi", **ADAM, **SUM),
    "wudi_closed_form_ridge1e-2": dense("wudi", ridge=0.01, **SUM),
    # full-rank updates need no `dense`: the numerical rank is min(m, n)
    "tsvm_full": method("tsv_m", "full", **SUM),
    "iso_c_full": method("iso_c", "full", **SUM),
    "iso_cts_full": method("iso_cts", "full", **SUM),
}


@pytest.mark.parametrize("case_id", CASES)
def test_subspace_methods_give_the_golden_tensors(case_id):
    golden.check(case_id, CASES[case_id]())


@pytest.mark.parametrize("case_id", DENSE)
def test_dense_updates_of_the_same_rank_give_the_golden_tensors_too(case_id):
    golden.check(case_id, DENSE[case_id]())
