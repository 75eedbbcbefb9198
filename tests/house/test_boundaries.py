"""What only some modules may reach, by whatever way: everybody else may not, the package of tomorrow included."""

from fnmatch import fnmatch
from pathlib import Path

import grimp
import pytest

from sap.plan.fingerprint import closure

SCRIPTS = sorted((Path(__file__).parents[2] / "workflow/scripts").glob("*.py"))
TORCH = ("torch",)
CLIENTS_IMAGES = ("sap.data.folder", "sap.data.prepare", "sap.data.store", "sap.data.partition")

# Patterns of module names. Not among them, so without torch: plan, report, findings, data, a room's other modules.
COMPUTES = (
    *("sap.stages.*.run", "sap.commands.merge", "sap.commands.main", "sap.mergetool"),
    *("sap.measure.*", "sap.probe.*", "sap.train.*", "sap.evaluate.*", "sap.saliency.*", "sap.serve.*", "sap.compose"),
    *(
        "sap.clip.*",
        "sap.merge.*",
        "sap.prune.*",
        "sap.attack.*",
        "sap.finish.*",
        "sap.stats.masks",
        "sap.stats.agreement",
    ),
    *("sap.shared", "sap.update", "sap.upload", "sap.export", "sap.factors", "sap.lowrank", "sap.selection"),
)
# Not among them, so on the server: scoring, merging, pruning, attacks on uploads, serving, audit, and every other room.
OF_THE_CLIENTS = ("prepare_domain", "train_client", "measure")
JUDGES = ("evaluate", "headroom", "probe", "privacy")
SEES_IMAGES = (
    *("sap.data.*", "sap.train.*", "sap.measure.*", "sap.evaluate.*", "sap.probe.*"),
    *(f"sap.stages.{room}.*" for room in OF_THE_CLIENTS + JUDGES),
)


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("sap", include_external_packages=True)


@pytest.mark.parametrize(("reached", "allowed"), [(TORCH, COMPUTES), (CLIENTS_IMAGES, SEES_IMAGES)])
def test_nobody_else_reaches(graph, reached, allowed):
    for target in reached:
        reaching = [name for name in sorted(graph.find_downstream_modules(target)) if name.startswith("sap")]
        strangers = [name for name in reaching if not any(fnmatch(name, pattern) for pattern in allowed)]
        assert not strangers, [" -> ".join(graph.find_shortest_chain(name, target)) for name in strangers]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_reaches_the_clients_images_only_where_its_room_may(script):
    if script.stem not in OF_THE_CLIENTS + JUDGES:
        assert not set(closure(script)) & set(CLIENTS_IMAGES)
