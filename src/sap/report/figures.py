"""All figures of the catalogue: name -> function of the results."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from sap.report.catalogue import FIGURES
from sap.report.draw_ablation import draw_ablation, draw_shrinkage
from sap.report.draw_attack import draw_attack_curve, draw_attack_heatmap
from sap.report.draw_claims import draw_claims
from sap.report.draw_cost import draw_cost
from sap.report.draw_diagnosis import draw_agreement, draw_saliency_layers
from sap.report.draw_examples import draw_examples
from sap.report.draw_headroom import draw_headroom
from sap.report.draw_interference import draw_interference
from sap.report.draw_kept import draw_kept
from sap.report.draw_main import draw_main
from sap.report.draw_masks import draw_masks
from sap.report.draw_privacy import draw_privacy
from sap.report.draw_probes import draw_probe
from sap.report.draw_sweep import draw_sweep_curves, draw_sweep_heatmap
from sap.report.draw_towers import draw_towers
from sap.report.draw_transfer import draw_seen_unseen
from sap.report.frame import Results
from sap.report.style import styled
from sap.report.write import write_figure

MAKERS: dict[str, Callable[[Results], Figure]] = {
    "claims": draw_claims,
    "headroom": draw_headroom,
    "main": draw_main,
    "sweep_curves": draw_sweep_curves,
    "sweep_heatmap": draw_sweep_heatmap,
    "ablation": draw_ablation,
    "shrinkage": draw_shrinkage,
    "seen_unseen": draw_seen_unseen,
    "cost": draw_cost,
    "saliency_layers": draw_saliency_layers,
    "agreement": draw_agreement,
    "towers": draw_towers,
    "probe": draw_probe,
    "masks": draw_masks,
    "kept": draw_kept,
    "interference": draw_interference,
    "privacy": draw_privacy,
    "attack_curve": draw_attack_curve,
    "attack_heatmap": draw_attack_heatmap,
    "examples": draw_examples,
}


# By hand as in the workflow: with more threads, sums are in another order and the last digits differ.
@threadpool_limits.wrap(limits=1)
def write_figures(results: Results, folder: str | Path) -> None:
    """Draw every figure of the catalogue as pdf and png; one without data says so in one sentence."""
    for name in FIGURES:
        with styled():
            write_figure(MAKERS[name](results), name, folder)
