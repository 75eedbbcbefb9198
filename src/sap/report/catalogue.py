"""What a report holds: name -> title. Light enough for the Snakefile to list outputs and captions from it.

Files: results/tables/{experiment}/NAME.{csv,md,tex,html}, beside them a page of text as NAME.{md,html}, and
results/figures/{experiment}/NAME.{pdf,png}; captions: workflow/report/{table,page,figure}_NAME.rst.
"""

TABLES = {
    "claims": "Claims: what the data say about each",
    "headroom": "Room above zero-shot, and the smallest effect that could be seen",
    "main": "Accuracy on held-out domains, all methods",
    "metrics": "Balanced accuracy, worst domain and client, calibration, share of the room",
    "comparisons": "Every method against zero-shot, the unpruned mean and its shrinkage control",
    "selection": "Who chooses ρ and λ",
    "variance": "What the anchor draw, the training seed and the test images make of the spread",
    "audit": "What each merge really does with its clients",
    "audit_layers": "What each merge does in every layer",
    "ledger": "What each method uses",
    "sweep": "Prune ratio × anchor set size × merge method",
    "ablation": "Pruning criteria at their own norm, at equal norm, and beside the shrinkage control",
    "shrinkage": "The λ path of the unpruned merge",
    "seen_unseen": "Accuracy on the held-out domain and on the clients' own domains",
    "client_matrix": "Every client alone on every domain",
    "trainings": "Every client on the test images of its own domain",
    "towers": "Where the clients' updates conflict: visual against text tower",
    "probe": "What linear probes read from the features: domain and class",
    "masks": "How far masks agree across anchor draws and sizes",
    "privacy": "What uploads tell about their images, and their bytes",
    "attack_control": "Every attacker alone: the positive control",
    "attack": "Attacks against every way to merge",
    "attack_folds": "The attack where all domains are clients, beside leave-one-out",
    "attack_explained": "Why the attack moves the reported average as little as it does",
    "cost": "What the stages cost",
    "failed": "What could not be computed, and why",
}

FIGURES = {
    "claims": "Claims: effects, intervals and verdicts",
    "headroom": "Room above zero-shot on each domain",
    "main": "Accuracy on held-out domains, all methods",
    "sweep_curves": "Accuracy against prune ratio",
    "sweep_heatmap": "Change to zero-shot over prune ratio and anchor set size",
    "ablation": "Pruning criteria at their own norm and at equal norm",
    "shrinkage": "Does pruning do more than shrinking the update?",
    "seen_unseen": "Every client on every domain; methods on seen and unseen domains",
    "cost": "What the stages cost",
    "saliency_layers": "Where in the network the saliency lies",
    "agreement": "How far the clients' updates agree",
    "towers": "Where the clients' updates conflict: visual against text tower",
    "probe": "What linear probes read from the features: domain and class",
    "masks": "How far masks agree across anchor draws and sizes",
    "kept": "Where in the network the kept entries lie",
    "interference": "What each client does to every domain, and how far updates conflict",
    "privacy": "What uploads tell about their images, and their bytes",
    "attack_curve": "Accuracy against the attacker's weight in the merge",
    "attack_heatmap": "Points lost to every attack under every way to merge",
    "examples": "Example images of each domain",
}

# Chapter of the HTML report -> its tables and figures. The report sorts chapters by name, hence the digits.
CHAPTERS = {
    "1 Claims": ("summary", "claims", "headroom", "comparisons"),
    "2 Accuracy": (
        "main",
        "metrics",
        "seen_unseen",
        "client_matrix",
        "trainings",
        "selection",
        "variance",
        "examples",
    ),
    "3 Pruning": (
        "sweep",
        "sweep_curves",
        "sweep_heatmap",
        "ablation",
        "shrinkage",
        "saliency_layers",
        "kept",
        "masks",
    ),
    "4 Updates and merges": ("audit", "audit_layers", "towers", "agreement", "interference", "probe"),
    "5 Attacks": (
        "attack",
        "attack_control",
        "attack_curve",
        "attack_explained",
        "attack_folds",
        "attack_heatmap",
    ),
    "6 Needs and costs": ("ledger", "privacy", "cost", "failed"),
}
CHAPTER_OF = {name: chapter for chapter, names in CHAPTERS.items() for name in names}

COMPLETE = "complete.txt"  # beside the tables, where no row failed
HEADROOM = "headroom"  # made by a rule of its own, before any sweep
SUMMARY = "summary"
PAGES = {SUMMARY: "A summary: setting, headline numbers, verdicts, limits"}

TABLE_SUFFIXES = ("csv", "md", "tex", "html")
PAGE_SUFFIXES = ("md", "html")
FIGURE_SUFFIXES = ("pdf", "png")


def files() -> dict[str, list[str]]:
    """Names of all files of an experiment's report: {"tables": [...], "figures": [...]}."""
    tables = [f"{name}.{suffix}" for name in TABLES if name != HEADROOM for suffix in TABLE_SUFFIXES]
    return {
        "headroom_table": [f"{HEADROOM}.{suffix}" for suffix in TABLE_SUFFIXES],
        "tables": [*tables, *(f"{name}.{suffix}" for name in PAGES for suffix in PAGE_SUFFIXES)],
        "figures": [f"{name}.{suffix}" for name in FIGURES for suffix in FIGURE_SUFFIXES],
        "complete": [COMPLETE],
    }
