"""Folders of images: root/domain/class/image, and public pairs whose captions are in captions.csv beside them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sap.data.options import AnchorOptions, DataOptions
from sap.data.sources._api import Pairs, Public, Reading, Section, Source, View, add_pairs, add_source
from sap.data.sources._files import CAPTION_BYTES, existing, pairs_in
from sap.errors import SapError
from sap.foreign import regular_file
from sap.io import digest, read_csv


def domains(data: Section) -> list[str]:
    found = folders(Path(data["root"]), "data.root")
    if not found:
        raise SapError(f"data.root {data['root']} holds no folders; expected root/domain/class/image.")
    return found


def classes(data: Section) -> list[str]:
    """The sorted union over the domains in use."""
    root = Path(data["root"])
    return sorted({name for domain in data["domains"] for name in folders(root / domain, f"data.root/{domain}")})


def counts(data: Section, domain: str) -> dict[str, int]:
    """What may be one of the visible files. Fewer may be left: files that are no images are skipped."""
    listed = listing(Path(data["root"], domain))
    return {name: sum(listed.get(name, {}).values()) for name in data["classes"]}


def stamp(data: Section, domain: str) -> str:
    """`files-` and ten hex digits of the names of a domain's files.

    Neither sizes nor dates count: asking for them takes a call per file, and dates change with every copy of a folder.
    So a file whose content changes under its old name is not noticed.
    """
    found = [f"{name}/{file}" for name, files in listing(Path(data["root"], domain)).items() for file in files]
    return f"files-{digest(ascii(found))}"


def read(domain: str, options: DataOptions, own: None, classes: Sequence[str], view: View) -> Reading:
    from sap.data.folder import decode, list_images

    root = str(options.root)
    files, labels, strays = list_images(root, domain, classes)
    decoded = decode(root, files, view.geometry, view.threads, view.rotations)
    return Reading(files, labels, files, (image for _, image in decoded), strays)


def folders(path: Path, where: str) -> list[str]:
    """Names of the visible folders in `path`, sorted."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise SapError(
            f"{where}: {path} is no readable folder ({error.strerror}). Set data.root to root/domain/class/image."
        ) from error


def listing(domain: Path) -> dict[str, dict[str, bool]]:
    """Class folder -> visible entry -> whether it may be an image, for it is no folder; both sorted."""
    found = {}
    for name in folders(domain, f"data.root/{domain.name}"):
        with os.scandir(domain / name) as entries:
            seen = {entry.name: not entry.is_dir(follow_symlinks=False) for entry in entries}
        found[name] = {file: seen[file] for file in sorted(seen) if not file.startswith(".")}
    return found


def read_pairs(anchors: AnchorOptions, own: Any, view: View) -> Public:
    return pairs_in(anchors, read_captions, view)


def read_captions(anchors: AnchorOptions) -> list[tuple[str, str]]:
    """Pairs (file relative to root, caption) of root/captions.csv, in its order."""
    root = Path(anchors.root or "")
    path = root / "captions.csv"
    if not path.is_file():
        raise SapError(f"{path} is missing. Write one with the columns file,caption; file is relative to {root}.")
    rows = [
        {(name or "").lstrip("\ufeff"): value for name, value in row.items()}
        for row in read_csv(regular_file(path, CAPTION_BYTES))
    ]
    missing = [name for name in ("file", "caption") if rows and name not in rows[0]]
    if missing:
        raise SapError(
            f"{path}: the column {missing[0]} is missing; found {', '.join(rows[0])}. Name them file,caption."
        )
    for line, row in enumerate(rows, start=2):
        if "" in row:
            raise SapError(f"{path}: row {line} has more fields than columns. Quote captions that contain a comma.")
        if not (row["file"] or "").strip() or not (row["caption"] or "").strip():
            raise SapError(f"{path}: row {line} lacks its file or its caption. Fill it in or remove the row.")
    return [(row["file"], row["caption"]) for row in rows]


def known(anchors: Section, data: Section) -> tuple[int, str] | None:
    path = Path(anchors["root"], "captions.csv")
    return (len(read_csv(path)), str(path)) if path.is_file() else None  # a missing one is asked for by name


add_source(
    Source(
        "folder",
        "reads root/domain/class/image",
        domains,
        classes,
        counts,
        read,
        stamp,
        fields=lambda data: {key: data[key] for key in ("root", "problems", "exif")},
        required=("root",),
        threads=4,  # decoding files is the work here
    )
)
add_pairs(
    Pairs(
        "folder",
        "reads captions.csv (columns file, caption) and the images beside it",
        read_pairs,
        files=lambda anchors: existing(anchors, "root", Path(anchors["root"], "captions.csv")),
        known=known,
        required=("root",),
    )
)
