import io
import itertools
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from sap.report.catalogue import FIGURES
from sap.report.layers import layer_place
from sap.report.make import make_exhibits
from sap.report.style import short, spread, styled

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawn(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    make_exhibits("figures", results, folder)
    return folder


def render(figure):
    """Lay out and rasterise, coarsely: enough to find what crashes."""
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    return figure


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_every_figure_of_the_catalogue_has_its_files(drawn):
    assert {path.name for path in drawn.iterdir()} == {
        f"{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "png")
    }


def test_the_scripts_write_the_same_bytes_in_another_process_without_torch(plan, drawn, tmp_path):
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "assert not {'torch', 'snakemake', 'open_clip'} & set(sys.modules)"
    script = ROOT / "workflow/scripts/figures.py"
    command = [sys.executable, "-c", code, str(script), "--plan", str(plan), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    for path in drawn.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", FIGURES)
def test_many_classes_clients_domains_and_methods_fit(large, name):
    with styled():
        figure = render(FIGURES[name].make(large))
        assert max(figure.get_size_inches()) < 12


@pytest.mark.parametrize("name", ["sweep_curves", "sweep_heatmap", "ablation", "shrinkage"])
def test_an_experiment_without_such_points_says_so(bare, name):
    with styled():
        figure = render(FIGURES[name].make(bare))
    assert "This experiment holds no" in texts(figure)


@pytest.mark.parametrize("name", ["main", "seen_unseen", "sweep_curves", "sweep_heatmap", "ablation", "shrinkage"])
def test_points_without_rows_are_drawn_as_missing(results, name):
    gone = results.points.index[results.points["criterion"] == "taylor_absolute"]
    with styled():
        render(FIGURES[name].make(replace(results, judged=results.rows[~results.rows["point"].isin(gone)])))


@pytest.mark.parametrize("name", FIGURES)
def test_a_plan_with_nothing_computed_yet_still_draws(results, name, tmp_path):
    with styled():
        render(
            FIGURES[name].make(
                replace(results, root=tmp_path, judged=results.rows.iloc[:0], files=defaultdict(pd.DataFrame))
            )
        )


def test_a_missing_method_is_named_missing_in_the_main_figure(results):
    gone = results.points.index[results.points["label"] == "ties of updates"]
    with styled():
        figure = FIGURES["main"].make(replace(results, judged=results.rows[~results.rows["point"].isin(gone)]))
    assert "missing" in texts(figure)


def test_axes_say_what_they_show_and_in_which_unit(results):
    with styled():
        assert "accuracy on held-out domains, %" in texts(FIGURES["sweep_curves"].make(results))
        assert "upload of one client, MB" in texts(FIGURES["cost"].make(results))


def test_labels_keep_their_order_and_distance():
    placed = spread([1.0, 1.1, 5.0, 0.9], 0.5)
    assert np.argsort(placed).tolist() == [3, 0, 1, 2]
    assert np.diff(sorted(placed)).min() >= 0.5 - 1e-9
    assert placed[2] == 5.0
    assert np.mean([placed[0], placed[1], placed[3]]) == pytest.approx(1.0)


def test_labels_stay_inside_their_limits_and_fill_them_where_they_do_not_fit():
    assert spread([9.9, 10.0, 0.0], 1.0, 0.5, 9.5) == pytest.approx([8.5, 9.5, 0.5])
    assert spread([5.0, 5.0, 5.0], 4.0, 4.0, 6.0) == pytest.approx([4.0, 5.0, 6.0])
    assert spread([], 1.0, 0.0, 1.0) == []


@pytest.mark.parametrize("gain", [0.0, 0.001, -0.001, 0.2])
def test_the_names_of_two_reference_lines_never_overlap(results, gain):
    rows = results.rows.set_index(["point", "target", "seed", "domain"])
    start = rows.loc["zero_shot", "accuracy"]
    unpruned = rows.index[rows.index.get_level_values("point") == "merge-none-{method: mean}-1.0"]
    rows.loc[unpruned, "accuracy"] = start.reindex(unpruned.droplevel("point")).to_numpy() + gain
    with styled():
        figure = render(FIGURES["ablation"].make(replace(results, judged=rows.reset_index()[results.rows.columns])))
    for panel in figure.axes:
        boxes = {text.get_text(): text.get_window_extent() for text in panel.texts}
        assert not boxes["unpruned"].overlaps(boxes["zero-shot"])


def test_labels_of_the_shrinkage_path_lie_apart_beside_the_axes_and_their_lines_do_not_cross(results):
    with styled():
        figure = render(FIGURES["shrinkage"].make(results))
    (axes,) = figure.axes
    frame, boxes = axes.get_window_extent(), [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 10  # 4 criteria × 2 ρ, zero-shot, the curve
    for box in boxes:
        assert frame.x1 < box.x0
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
    heights = sorted((box.y0, box.y1) for box in boxes)
    assert all(below[1] <= above[0] for below, above in itertools.pairwise(heights))
    starts = axes.transData.transform([text.xy for text in axes.texts])
    ends = np.array([[box.x0, (box.y0 + box.y1) / 2] for box in boxes])
    for i, j in itertools.combinations(range(len(boxes)), 2):
        assert not crossing(starts[i], ends[i], starts[j], ends[j])


def crossing(a, b, c, d):
    def side(p, q, r):
        return np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def test_costs_of_very_different_stages_all_show(results):
    with styled():
        figure = render(FIGURES["cost"].make(results))
    seconds = figure.axes[0]
    assert seconds.get_xscale() == "log"
    assert seconds.get_xlim()[0] <= 0.06


def test_shortened_names_keep_what_tells_them_apart():
    names = [short(f"a_very_long_domain_name-{index}of9", 16) for index in range(1, 10)]
    assert len(set(names)) == 9
    assert max(map(len, names)) <= 16


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ("visual.transformer.resblocks.3.attn.in_proj_weight", (3, "attn.in_proj")),
        ("visual.transformer.resblocks.11.mlp.c_fc.weight", (11, "mlp.c_fc")),
        ("visual.trunk.blocks.2.attn.qkv.weight", (2, "attn.qkv")),
        ("visual.proj", (0, "visual.proj")),
    ],
)
def test_a_layer_has_a_depth_and_a_kind(layer, place):
    assert layer_place(layer) == place
