"""Agreement of masks: equal, independent and opposite scores, and the masks of the prune stage themselves."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sap.prune.mask import Rule, cut_out, keep_between
from sap.stats import masks
from sap.stats.masks import kept_by_layer, mask_agreement

RATIOS = (0.3, 0.9)


def scores(*sources, shapes=((40, 30), (50, 60)), seed=0):
    """Independent uniform scores of each source, one mapping for each layer."""
    rng = torch.Generator().manual_seed(seed)
    return [{source: torch.rand(shape, generator=rng) for source in sources} for shape in shapes]


def test_equal_scores_agree_wholly_and_so_do_scores_in_the_same_order():
    layers = [{"a": layer["a"], "b": layer["a"], "c": layer["a"] ** 3} for layer in scores("a")]
    rows = mask_agreement(layers, RATIOS, 0)
    assert [(row["ratio"], row["source_a"], row["source_b"]) for row in rows] == [
        (ratio, *pair) for ratio in RATIOS for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    assert all(row["jaccard"] == 1 for row in rows)
    assert all(row["spearman"] == pytest.approx(1) for row in rows)


def test_independent_scores_agree_by_chance():
    for row in mask_agreement(scores("a", "b", shapes=((400, 300),)), RATIOS, 0):
        assert row["chance"] == pytest.approx((1 - row["ratio"]) / (1 + row["ratio"]))
        assert row["jaccard"] == pytest.approx(row["chance"], abs=0.01)
        assert row["spearman"] == pytest.approx(0, abs=0.02)


def test_opposite_scores_keep_nothing_together():
    layers = [{"a": layer["a"], "b": 1 - layer["a"]} for layer in scores("a")]
    half, all_but_none = mask_agreement(layers, (0.5, 1.0), 0)
    assert half["jaccard"] == 0
    assert half["spearman"] == pytest.approx(-1)
    assert math.isnan(all_but_none["jaccard"])  # nobody keeps anything


def test_the_order_of_the_sources_does_not_matter():
    layers = scores("a", "b")
    turned = [{"b": layer["b"], "a": layer["a"]} for layer in layers]
    for one, other in zip(mask_agreement(layers, RATIOS, 0), mask_agreement(turned, RATIOS, 0), strict=True):
        assert (one["jaccard"], one["spearman"]) == pytest.approx((other["jaccard"], other["spearman"]))


def test_means_over_layers_count_entries_and_masks_are_those_of_the_prune_stage_with_its_ties():
    layers = [{name: (score * 6).floor() for name, score in layer.items()} for layer in scores("a", "b")]
    [row] = mask_agreement(layers, (0.77,), 0)
    jaccards, spearmans = [], []
    for layer in layers:
        kept = [keep_between(score, cut_out([score], Rule(0.77))) for score in layer.values()]
        jaccards.append(int((kept[0] & kept[1]).sum()) / int((kept[0] | kept[1]).sum()))
        spearmans.append(spearmanr(*(score.flatten() for score in layer.values())).statistic)
    assert row["jaccard"] == pytest.approx(np.average(jaccards, weights=[1200, 3000]))
    assert row["spearman"] == pytest.approx(np.average(spearmans, weights=[1200, 3000]))


def test_a_layer_without_order_is_left_out_of_the_rank_correlation():
    layers = scores("a", "b")
    [alone] = mask_agreement(layers[1:], (0.5,), 0)
    [both] = mask_agreement([{"a": torch.zeros(9, 9), "b": torch.rand(9, 9)}, layers[1]], (0.5,), 0)
    assert both["spearman"] == pytest.approx(alone["spearman"])
    [never] = mask_agreement([{"a": torch.zeros(9, 9), "b": torch.zeros(9, 9)}], (0.5,), 0)
    assert math.isnan(never["spearman"])


def test_ranks_of_a_large_layer_are_drawn_from_the_seed(monkeypatch):
    [layer] = scores("a", "c", shapes=((300, 200),))
    layers = [{"a": layer["a"], "b": layer["a"] + layer["c"]}]
    [whole] = mask_agreement(layers, (0.5,), 0)
    monkeypatch.setattr(masks, "SPEARMAN_ENTRIES", 20_000)
    [drawn], [again], [other] = (mask_agreement(layers, (0.5,), seed) for seed in (0, 0, 1))
    assert drawn == again
    assert drawn["spearman"] == pytest.approx(whole["spearman"], abs=0.02)
    assert len({whole["spearman"], drawn["spearman"], other["spearman"]}) == 3
    assert drawn["jaccard"] == whole["jaccard"]


def test_one_threshold_for_the_model_keeps_the_layers_with_the_largest_scores():
    low, high = (layer["a"] for layer in scores("a", shapes=((10, 10), (10, 20))))
    rows = list(kept_by_layer({"low": low, "high": 2 + high}, (0.25, 0.5, 0.9)))
    assert [(row["ratio"], row["layer"], row["kept"]) for row in rows] == [
        (0.25, "low", 25), (0.25, "high", 200), (0.5, "low", 0), (0.5, "high", 150), (0.9, "low", 0), (0.9, "high", 30),
    ]  # fmt: skip
    assert [row["entries"] for row in rows[:2]] == [100, 200]


def test_one_threshold_is_that_of_scope_model_with_its_ties():
    found = {name: (layer["a"] * 5).floor() for name, layer in zip("xy", scores("a"), strict=True)}
    cuts = cut_out(list(found.values()), Rule(0.77, scope="model"))
    expected = [int(keep_between(score, cuts, i).sum()) for i, score in enumerate(found.values())]
    assert [row["kept"] for row in kept_by_layer(found, (0.77,))] == expected
    assert sum(expected) == 4200 - 3234
