"""All tables of the catalogue: name -> function of the results."""

from collections.abc import Callable
from pathlib import Path

from threadpoolctl import threadpool_limits

from sap.report.ablation import ablation_table, shrinkage_table
from sap.report.attack import attack_table
from sap.report.attack_control import control_table
from sap.report.attack_explained import explained_table
from sap.report.attack_folds import folds_table
from sap.report.audit import audit_layers_table, audit_table
from sap.report.catalogue import HEADROOM, PAGES, SUMMARY, TABLES
from sap.report.claims import claims_table
from sap.report.comparisons import comparisons_table
from sap.report.cost import cost_table
from sap.report.failures import failed_table, marked
from sap.report.frame import Results
from sap.report.headroom import headroom_table
from sap.report.ledger import ledger_table
from sap.report.main import main_table
from sap.report.masks import masks_table
from sap.report.metrics import metrics_table
from sap.report.privacy import privacy_table
from sap.report.probes import probe_table
from sap.report.selection import selection_table
from sap.report.summary import summary_page
from sap.report.sweep import sweep_table
from sap.report.table import Table
from sap.report.towers import towers_table
from sap.report.transfer import client_matrix_table, seen_unseen_table, trainings_table
from sap.report.variance import variance_table
from sap.report.write import write_page, write_table

MAKERS: dict[str, Callable[[Results], Table]] = {
    "claims": claims_table,
    "headroom": headroom_table,
    "main": main_table,
    "metrics": metrics_table,
    "comparisons": comparisons_table,
    "selection": selection_table,
    "variance": variance_table,
    "audit": audit_table,
    "audit_layers": audit_layers_table,
    "ledger": ledger_table,
    "sweep": sweep_table,
    "ablation": ablation_table,
    "shrinkage": shrinkage_table,
    "seen_unseen": seen_unseen_table,
    "client_matrix": client_matrix_table,
    "trainings": trainings_table,
    "towers": towers_table,
    "probe": probe_table,
    "masks": masks_table,
    "privacy": privacy_table,
    "attack_control": control_table,
    "attack": attack_table,
    "attack_folds": folds_table,
    "attack_explained": explained_table,
    "cost": cost_table,
    "failed": failed_table,
}


# By hand as in the workflow: with more threads, sums are in another order and the last digits differ.
@threadpool_limits.wrap(limits=1)
def write_tables(results: Results, folder: str | Path) -> None:
    """Write the catalogue's tables as csv, md, tex and html, and the summary; one without rows says so in one sentence.

    The table of the headroom is not among them: it is there before any sweep (`write_headroom`).
    """
    for name, title in TABLES.items():
        if name != HEADROOM:
            write_table(marked(MAKERS[name](results), name, results), title, name, folder)
    write_page(summary_page(results), PAGES[SUMMARY], SUMMARY, folder)


@threadpool_limits.wrap(limits=1)
def write_headroom(results: Results, folder: str | Path) -> None:
    """Write the table of the headroom, and print it: it is the first thing to look at."""
    write_table(marked(MAKERS[HEADROOM](results), HEADROOM, results), TABLES[HEADROOM], HEADROOM, folder)
    print((Path(folder) / f"{HEADROOM}.md").read_text(encoding="utf-8"))
