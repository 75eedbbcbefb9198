"""Figure `examples`: images of each domain, one column per class."""

from matplotlib.figure import Figure

from sap.data.store import EXAMPLES, read_examples
from sap.report.exhibit import figure
from sap.report.frame import Results, locate
from sap.report.style import HATCH, TWO_COLUMNS, blank, panels, short

EMPTY = "The example images of this experiment are not in the results folder."


@figure("examples", "Example images of each domain", "2 Accuracy")
def draw_examples(results: Results) -> Figure:
    """Images of each domain at the backbone's input size, the first training image of up to ten classes. Rows are what
    the clients hold, one domain each; a column shows how far one class differs between them."""
    folders = {item["domain"]: locate(results.root, item["folder"]) for item in results.planned("prepare_domain")}
    found = {domain: read_examples(path) for domain, path in folders.items() if path and (path / EXAMPLES).exists()}
    if not found:
        return blank(EMPTY)
    labels = sorted(set().union(*found.values()))
    side = (TWO_COLUMNS - 0.8) / max(len(labels), 6)
    figure, axes = panels(len(found), len(labels), (0.8 + side * len(labels), 0.25 + side * len(found)))
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for row, (domain, images) in zip(axes, found.items(), strict=True):
        for panel, label in zip(row, labels, strict=True):
            image = images.get(label)
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
    for panel, label in zip(axes[0], labels, strict=True):
        name = results.plan.classes[label]
        panel.set_title(short(name, 12), loc="center", fontsize=6.5, fontweight="normal", pad=3)
    return figure
