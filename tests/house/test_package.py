"""The package stands alone: built, installed and used away from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "pyproject.toml", "README.md", "LICENSE", "config.yaml")


def called(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints, which must succeed, without the variables that lead to the checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    found = subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The programs of a fresh environment with the built wheel; the libraries are those of this one."""
    folder = tmp_path_factory.mktemp("package")
    source, wheels, fresh = folder / "source", folder / "wheels", folder / "environment"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name, **({"symlinks": True} if (ROOT / name).is_dir() else {}))
    shutil.rmtree(source / "src/sap.egg-info", ignore_errors=True)
    tool = Path(sys.executable).with_name("uv")
    called(tool, "build", "--offline", "--no-build-isolation", "--python", sys.executable, "-o", wheels, cwd=source)
    venv.create(fresh, with_pip=False)
    (wheel,) = wheels.glob("*.whl")
    python = fresh / "bin/python"
    called(tool, "pip", "install", "--offline", "--no-deps", "--python", python, wheel, cwd=folder)
    own = called(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # After its own, and as a plain folder: the link to the checkout that lies in there is not followed.
    Path(own, "libraries.pth").write_text(str(Path(torch.__file__).parents[1]), encoding="utf-8")
    shutil.rmtree(source)
    return fresh / "bin"


def adapter(folder: Path, scale: float) -> Path:
    """A PEFT LoRA of one linear layer, rank 1, whose update is `scale` everywhere."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["fc"], "base_model_name_or_path": "x"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    parts = {"lora_A": torch.ones(1, 3), "lora_B": torch.full((2, 1), scale)}
    save_file(
        {f"base_model.model.fc.{name}.weight": tensor for name, tensor in parts.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


@pytest.mark.slow
def test_a_built_wheel_merges_adapters_away_from_the_checkout(installed, tmp_path):
    from sap.update import load_adapter

    there = tmp_path / "another place"
    for name, scale in (("law", 1.0), ("med", 3.0)):
        adapter(there / name, scale)
    where = called(installed / "python", "-c", "import sap; print(sap.__file__)", cwd=there)
    assert where.startswith(str(installed.parent))
    assert called(installed / "sap", "--version", cwd=there).startswith("sap ")
    assert "ties" in called(installed / "sap", "merge", "--list", cwd=there)
    assert "merged update: " in called(installed / "sap", "merge", "law", "med", "--out", "both", cwd=there)
    assert torch.equal(load_adapter(there / "both").dense("fc.weight"), torch.full((2, 3), 2.0))


@pytest.mark.slow
def test_a_built_wheel_knows_the_shipped_study_where_no_config_lies(installed, tmp_path):
    shown = called(installed / "sap", "status", cwd=tmp_path, SAP_DEVICE="cpu")
    assert shown.startswith("Experiment digits")
    assert not list(tmp_path.iterdir())
    assert "Everything under results/ is used" in called(installed / "sap", "unused", cwd=tmp_path)


def test_completion_offers_commands_and_their_options(tmp_path):
    offered = tmp_path / "offered"
    for line, expected in (("sap st", {"status "}), ("sap merge --we", {"--weights "})):
        called(
            *(sys.executable, "-c", "from sap.commands.main import main; main()"),
            cwd=ROOT,
            _ARGCOMPLETE="1",
            _ARGCOMPLETE_STDOUT_FILENAME=str(offered),
            COMP_LINE=line,
            COMP_POINT=str(len(line)),
        )
        assert set(offered.read_text(encoding="utf-8").split("\013")) == expected
