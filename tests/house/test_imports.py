"""Which heavy libraries scripts import in a fresh process, everything they could ever import included."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.startup import LIMITS, SCRIPTS, imports_of, snakefile_imports, start

CLIP = {"torch", "open_clip"}
DIGITS = {"matplotlib", "scipy"}  # its fonts, and its filters
GROUPS = [  # scripts, and all that they may import
    (("unused",), set()),
    (("complete", "status", "why"), {"pandas"}),
    (("figures", "tables"), {"pandas", "matplotlib", "scipy"}),  # a room's exhibits are both
    (("prepare_domain",), DIGITS),
    (("audit", "merge", "prune"), {"torch"}),
    (("compare_towers", "diagnose"), {"torch", "scipy"}),
    (("compare_masks",), {"torch", "scipy", "scipy.stats"}),
    (("embed_classes", "evaluate", "measure", "score_client"), CLIP),
    (("headroom", "privacy", "probe"), CLIP | {"pandas", "scipy", "scipy.stats"}),  # scikit-learn imports both
    (("draw_anchors", "prepare_backbone"), CLIP | DIGITS),
    (("train_client",), CLIP | {"peft"}),
]


def test_the_groups_above_and_the_benchmarks_limits_speak_of_the_scripts_there_are():
    scripts = sorted(script for group, _ in GROUPS for script in group)
    assert scripts == sorted(path.stem for path in SCRIPTS.glob("*.py"))
    assert set(LIMITS) <= set(scripts)


@pytest.mark.parametrize(("scripts", "allowed"), GROUPS, ids=lambda value: " ".join(sorted(value)))
def test_scripts_import_no_heavy_library_that_they_do_not_need(scripts, allowed):
    assert set(start("".join(map(imports_of, scripts)))[1]) <= allowed


def test_reading_the_snakefile_imports_nothing_heavy():
    assert start(snakefile_imports())[1] == []


def test_a_script_whose_open_clip_cannot_do_without_them_gets_them(tmp_path):
    """A release of open_clip that computes with torchvision while it is imported."""
    library = tmp_path / "open_clip"
    library.mkdir()
    (library / "__init__.py").write_text("from open_clip.part import SIZE\n", encoding="utf-8")
    (library / "part.py").write_text("from torchvision import side\nSIZE = side + 1\n", encoding="utf-8")
    (tmp_path / "torchvision.py").write_text("side = 2\n", encoding="utf-8")
    (tmp_path / "script.py").write_text(
        "from sap.cli import run\n\ndef main(args):\n    import open_clip, torchvision\n"
        "    print(open_clip.SIZE, torchvision.side)\n\nrun(main, lambda: None)\n",
        encoding="utf-8",
    )
    assert _printed(tmp_path / "script.py") == "3 2"


def test_only_scripts_leave_them_out_and_only_while_open_clip_is_imported(tmp_path):
    code = (
        "import sys, open_clip\nprint('torchvision' in sys.modules, open_clip.image_transform(8, False) is not None)\n"
    )
    (tmp_path / "notebook.py").write_text(f"import sap.cli\n{code}", encoding="utf-8")
    assert _printed(tmp_path / "notebook.py") == "True True"
    (tmp_path / "script.py").write_text(
        "import sys\nfrom sap.cli import run\n\ndef main(args):\n    import open_clip\n"
        "    assert 'torchvision' not in sys.modules\n    import torchvision.transforms\n"
        "    print(torchvision.transforms.Resize(8).size)\n"
        "    try: open_clip.image_transform(8, False)\n"
        "    except ImportError as error: print('sap.imports' in str(error))\n"
        "\nrun(main, lambda: None)\n",
        encoding="utf-8",
    )
    assert _printed(tmp_path / "script.py") == "8\nTrue"


def test_an_adapter_made_without_transformers_is_byte_for_byte_the_one_made_with_it(tiny_clip_folder, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom sap.cli import run\n\ndef make(folder):\n"
        "    import torch\n    from sap.clip.backbone import load_backbone\n"
        "    from sap.clip.lora import add_adapter, save_adapter, trainable\n"
        "    from sap.clip.options import LoraOptions\n"
        f"    backbone = load_backbone({str(tiny_clip_folder)!r})\n"
        "    adapted = add_adapter(backbone.model, LoraOptions(rank=2, towers='both', dropout=0.1), 0, 'art')\n"
        "    optimizer = torch.optim.AdamW(trainable(adapted).values(), lr=0.01)\n"
        "    backbone.image_features(torch.ones(2, 3, 16, 16)).sum().backward()\n"
        "    optimizer.step()\n    save_adapter(adapted, Path(folder))\n"
        "    print('transformers' in sys.modules)\n\n"
    )
    (tmp_path / "script.py").write_text(f"{code}run(lambda _: make('without'), lambda: None)\n", encoding="utf-8")
    (tmp_path / "notebook.py").write_text(f"{code}make('with')\n", encoding="utf-8")
    for folder in ("with", "without"):
        (tmp_path / folder).mkdir()
    assert [_printed(tmp_path / name) for name in ("script.py", "notebook.py")] == ["False", "True"]
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def _printed(script: Path) -> str:
    found = subprocess.run([sys.executable, script], cwd=script.parent, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()
