"""What the plan must know of images before any job runs, asked of their source: domains, classes, names of files."""

from collections.abc import Iterable, Mapping
from typing import Any

from sap.data.sources import PAIRS, SOURCES
from sap.errors import SapError
from sap.escape import terminal
from sap.registry import unknown

Section = Mapping[str, Any]


def check_required(settings: Section) -> None:
    """SapError where a source needs a key of its section that is not set."""
    for section, known in (("data", SOURCES), ("anchors", PAIRS)):
        given = settings[section]
        for key in known[given["source"]].required:
            if not given[key]:
                raise SapError(f"{section}.{key} must be set when {section}.source is {given['source']}.")


def domains_of(data: Section) -> list[str]:
    """Domains in use, in the config's order, or all of them sorted by name."""
    known = SOURCES[data["source"]].domains(data)
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


def classes_of(data: Section) -> list[str]:
    """Names of the classes in label order, of the domains in use."""
    found = SOURCES[data["source"]].classes(data)
    if len(found) < 2:
        raise SapError(f"data.root {data['root']} has {len(found)} class(es), and a study needs two or more.")
    _check_plain(found)
    return found


def texts_of(data: Section) -> dict[str, str]:
    """Class -> its text in prompts, in label order; `data` as resolved."""
    return {name: data["class_names"].get(name, name.replace("_", " ")) for name in data["classes"]}


def _check_plain(names: Iterable[str]) -> None:
    """Refuse names that do something to a terminal, where Snakemake prints them, and names that are no text at all."""
    for name in names:
        if terminal(name) != name:
            raise SapError(f"data.root: the folder name '{terminal(name)}' is not plain UTF-8 text. Rename the folder.")


def counts_of(data: Section) -> dict[str, Mapping[str, int]]:
    """{domain: {class: images}}, all splits together, as far as the source knows; `data` as resolved."""
    return {domain: SOURCES[data["source"]].counts(data, domain) for domain in data["domains"]}


def captions_of(anchors: Section) -> list[str]:
    """The files that say which anchor images have which captions, as inputs of draw_anchors."""
    return PAIRS[anchors["source"]].files(anchors)
