"""Figure `examples`: images of each domain, one column per class."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sap.data.store import open_store
from sap.report.frame import Results, locate
from sap.report.style import HATCH, TWO_COLUMNS, blank, panels, short

EMPTY = "The images of this experiment are not in the results folder."
MOST_CLASSES = 10


def draw_examples(results: Results) -> Figure:
    """Rows are domains, columns up to ten classes spread over all; the first training image of each."""
    classes = _chosen(list(results.plan["classes"]))
    stores = {item["domain"]: locate(results.root, item["folder"]) for item in results.plan.get("data", [])}
    stores = {domain: folder for domain, folder in stores.items() if folder and (folder / "images.npy").exists()}
    if not stores:
        return blank(EMPTY)
    side = (TWO_COLUMNS - 0.8) / max(len(classes), 6)
    figure, axes = panels(len(stores), len(classes), (0.8 + side * len(classes), 0.25 + side * len(stores)))
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for row, (domain, folder) in zip(axes, stores.items(), strict=True):
        for panel, image in zip(row, _images(folder, classes), strict=True):
            panel.set_xticks([])
            panel.set_yticks([])
            panel.grid(False)
            for spine in panel.spines.values():
                spine.set_visible(False)
            if image is None:
                panel.set_facecolor("white")
                panel.patch.set(hatch=HATCH, edgecolor="#b0b0b0")
                panel.set_aspect("equal")
            else:
                # Pixels of a tiny image stay pixels: smoothing would show what the model never sees.
                panel.imshow(image, interpolation="nearest" if image.shape[0] < 64 else "antialiased")
        row[0].set_ylabel(short(domain, 18), rotation=0, ha="right", va="center", labelpad=6)
    for panel, (_, name) in zip(axes[0], classes, strict=True):
        panel.set_title(short(name, 12), loc="center", fontsize=6.5, fontweight="normal", pad=3)
    return figure


def _chosen(classes: list[str]) -> list[tuple[int, str]]:
    """(label, name) of at most ten classes, evenly spread."""
    labels = np.unique(np.linspace(0, len(classes) - 1, min(MOST_CLASSES, len(classes))).round().astype(int))
    return [(int(label), classes[label]) for label in labels]


def _images(folder: Path, classes: list[tuple[int, str]]) -> list[np.ndarray | None]:
    """(H, W, 3) uint8 of each class, None for a class without an image."""
    store = open_store(folder)
    train_first = np.argsort(store.splits != "train", kind="stable")
    found = (train_first[store.labels[train_first] == label][:1] for label, _ in classes)
    return [store.images[row][0] if len(row) else None for row in found]
