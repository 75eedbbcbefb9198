"""The code behind an artifact: its fingerprint, and on disk what that fingerprint stands for."""

import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from sap.errors import SapError
from sap.io import canonical, digest, read_json, write_json
from sap.plan.fingerprint import fingerprint, trees
from sap.plan.stage import RESULTS


@cache
def code_of(packages: tuple[str, ...], *entries: str | Path) -> str:
    """Fingerprint of modules or scripts, and of the installed versions of `packages` (config: versions.invalidate)."""
    found = fingerprint(*entries)
    return digest(f"{found} {canonical(_versions(packages))}") if packages else found


def store_code(packages: tuple[str, ...], *entries: str | Path) -> None:
    """Keep in results/plans/code-<fingerprint>.json what a fingerprint stands for, so that a change can be named."""
    path = _path(code_of(packages, *entries))
    if not path.exists():
        write_json(path, trees(*entries) | _versions(packages))


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {f"the package {name}": version_of(name) for name in packages}


def version_of(package: str) -> str:
    """Version of an installed package, or of `python`; SapError for one that is not installed."""
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise SapError(
            f"versions.invalidate names {package}, which is not installed. `pip list` says how packages are called."
        ) from None


def changed_parts(old: str, new: str) -> list[str] | None:
    """Modules, scripts and packages in which two fingerprints differ, sorted; None where one is not recorded."""
    if not (_path(old).exists() and _path(new).exists()):
        return None
    before, after = _parts(old), _parts(new)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def is_recorded(fingerprint: str) -> bool:
    """Whether ten hex digits are the fingerprint of some code that ran here."""
    return _path(fingerprint).exists()


@cache
def _parts(fingerprint: str) -> Mapping[str, str]:
    return read_json(_path(fingerprint))


def _path(fingerprint: str) -> Path:
    return Path(RESULTS) / "plans" / f"code-{fingerprint}.json"
