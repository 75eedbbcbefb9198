"""What a report holds: name -> title. Light enough for the Snakefile to list outputs and captions from it.

Files: results/tables/{experiment}/NAME.{csv,md,tex} and results/figures/{experiment}/NAME.{pdf,png};
captions: workflow/report/table_NAME.rst and workflow/report/figure_NAME.rst.
"""

TABLES = {
    "main": "Accuracy on held-out domains, all methods",
    "audit": "What each merge really does with its clients",
    "audit_layers": "What each merge does in every layer",
    "ledger": "What each method uses",
    "sweep": "Prune ratio × anchor set size × merge method",
    "ablation": "Pruning criteria at their own norm, at equal norm, and beside the shrinkage control",
    "shrinkage": "The λ path of the unpruned merge",
    "seen_unseen": "Accuracy on the held-out domain and on the clients' own domains",
    "client_matrix": "Every client alone on every domain",
    "trainings": "Every client on the test images of its own domain",
    "cost": "What the stages cost",
}

FIGURES = {
    "main": "Accuracy on held-out domains, all methods",
    "sweep_curves": "Accuracy against prune ratio",
    "sweep_heatmap": "Change to zero-shot over prune ratio and anchor set size",
    "ablation": "Pruning criteria at their own norm and at equal norm",
    "shrinkage": "Does pruning do more than shrinking the update?",
    "seen_unseen": "Every client on every domain; methods on seen and unseen domains",
    "cost": "What the stages cost",
    "saliency_layers": "Where in the network the saliency lies",
    "agreement": "How far the clients' updates agree",
    "examples": "Example images of each domain",
}

TABLE_SUFFIXES = ("csv", "md", "tex")
FIGURE_SUFFIXES = ("pdf", "png")


def files() -> dict[str, list[str]]:
    """Names of all files of an experiment's report: {"tables": [...], "figures": [...]}."""
    return {
        "tables": [f"{name}.{suffix}" for name in TABLES for suffix in TABLE_SUFFIXES],
        "figures": [f"{name}.{suffix}" for name in FIGURES for suffix in FIGURE_SUFFIXES],
    }
