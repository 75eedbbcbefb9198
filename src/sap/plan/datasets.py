"""What the plan must know of images before any job runs: domains, classes, names of files. Folder listings only."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sap.errors import SapError
from sap.escape import terminal
from sap.io import digest
from sap.registry import unknown

DIGITS_DOMAINS = ("handwritten", "photo", "printed", "sketch")
DIGITS_CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def domains_of(data: Mapping[str, Any]) -> list[str]:
    """Domains in use, in the config's order, or all of them sorted by name."""
    known = list(DIGITS_DOMAINS) if data["source"] == "digits" else folders(Path(data["root"] or "."), "data.root")
    if not known:
        raise SapError(f"data.root {data['root']} holds no folders; expected root/domain/class/image.")
    chosen = data["domains"] or known
    for domain in chosen:
        if domain not in known:
            raise SapError(f"data.domains: {unknown('domain', domain, known)}")
    _check_plain(chosen)
    for domain in chosen:
        if {*"{}"} & {*domain}:  # it becomes part of the paths of results
            raise SapError(f"data.domains: '{domain}' has a brace, which Snakemake reads as a wildcard. Rename it.")
    if len(set(chosen)) < len(chosen):
        raise SapError(f"data.domains must differ from one another, got {list(chosen)}.")
    return list(chosen)


def classes_of(data: Mapping[str, Any]) -> list[str]:
    """Class folder names in label order: the sorted union over the domains in use."""
    if data["source"] == "digits":
        return list(DIGITS_CLASSES)
    root = Path(data["root"])
    found = {name for domain in data["domains"] for name in folders(root / domain, f"data.root/{domain}")}
    if len(found) < 2:
        raise SapError(
            f"data.root {root} holds {len(found)} class folder(s); expected root/domain/class/image with two or more."
        )
    _check_plain(found)
    return sorted(found)


def _check_plain(names: Iterable[str]) -> None:
    """Refuse names that do something to a terminal, where Snakemake prints them, and names that are no text at all."""
    for name in names:
        if terminal(name) != name:
            raise SapError(f"data.root: the folder name '{terminal(name)}' is not plain UTF-8 text. Rename the folder.")


def listing_of(data: Mapping[str, Any], domain: str) -> str:
    """Ten hex digits of the names of a domain's files: another text when images come, go or are renamed.

    Neither sizes nor dates count: asking for them takes a call per file, and dates change with every copy of a folder.
    So a file whose content changes under its old name is not noticed. The embedded set has no files: "".
    """
    if data["source"] == "digits":
        return ""
    found = [f"{name}/{file}" for name, files in _listing(Path(data["root"], domain)).items() for file in files]
    return digest(ascii(found))


def counts_of(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """{domain: {class: images}}, all splits together: what the embedded set makes, or what may be
    one of the visible files.


    `data` as resolved, with its `domains` and `classes`. Fewer may be left: files that are no images are skipped.
    """
    if data["source"] == "digits":
        return {domain: dict.fromkeys(data["classes"], data["digits"]["per_class"]) for domain in data["domains"]}
    listed = {domain: _listing(Path(data["root"], domain)) for domain in data["domains"]}
    return {
        domain: {name: sum(found.get(name, {}).values()) for name in data["classes"]}
        for domain, found in listed.items()
    }


def _listing(domain: Path) -> dict[str, dict[str, bool]]:
    """Class folder -> visible entry -> whether it may be an image, for it is no folder; both sorted."""
    found = {}
    for name in folders(domain, f"data.root/{domain.name}"):
        with os.scandir(domain / name) as entries:
            seen = {entry.name: not entry.is_dir(follow_symlinks=False) for entry in entries}
        found[name] = {file: seen[file] for file in sorted(seen) if not file.startswith(".")}
    return found


def captions_of(anchors: Mapping[str, Any]) -> list[str]:
    """The file that says which anchor images have which captions, as an input of draw_anchors."""
    if anchors["source"] == "digits":
        return []
    path = Path(anchors["root"], "captions.csv") if anchors["source"] == "folder" else Path(anchors["captions"])
    if not path.is_file():
        key = "root" if anchors["source"] == "folder" else "captions"
        raise SapError(f"anchors.{key}: {path} is no file. See docs/your-own-data.md for what it must hold.")
    if not Path(anchors["root"]).is_dir():
        raise SapError(f"anchors.root: {anchors['root']} is no folder. Set it to the folder of the anchor images.")
    return [str(path)]


def folders(path: Path, where: str) -> list[str]:
    """Names of the visible folders in `path`, sorted."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise SapError(
            f"{where}: {path} is no readable folder ({error.strerror}). Set data.root to root/domain/class/image."
        ) from error
