"""The points of a config: each block checked, with every default filled in. No torch.

A block is the product of its lists; its path in the config names it in every message.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from sap.combinations import unshared_factor
from sap.config import validate, with_defaults
from sap.data.sources import PAIRS
from sap.errors import SapError
from sap.needs import ANCHORS, STATISTICS, from_source
from sap.plan.overlays import SHIPPED
from sap.plan.schema import schema
from sap.registry import unknown
from sap.setting import CLASSES, PLAIN, SWEPT

Block = Mapping[str, Any]
MOVED = {  # what stood in `views` once -> what says it now
    "seen": "judged_on: clients",
    "select": "views: selection, judged_on: selection",
    "everyone": "judged_on: everyone",
    "probe": "stages: probe, with judged_on: [] where no table of accuracies shows the points",
    "privacy": "stages: privacy, with judged_on: [] where no table of accuracies shows the points",
}


_CALLED = {"merge": "merge method", "attacks": "attack", "finishes": "finish", "kinds": "kind of model"}


def resolved_blocks(points: Any) -> dict[str, Block]:
    """Path -> block, of the config's `points` as written: a list of blocks, or lists by the names of groups.

    Raises SapError for what is no block, and for keys, values and names that do not exist, with their paths.
    """
    found = {where: _resolved(block, where) for where, block in _written(points)}
    if not found:
        raise SapError("points must hold at least one block, such as {merge: mean}.")
    return found


def _written(points: Any) -> Iterator[tuple[str, Any]]:
    """(path, block) of every block; a group that an overlay sets to null has none."""
    groups = {f"points.{name}": blocks for name, blocks in points.items()} if isinstance(points, Mapping) else None
    for path, blocks in ({"points": points} if groups is None else groups).items():
        if blocks is None and groups:
            continue
        if not isinstance(blocks, list):
            allowed = "a list of blocks, or null to drop the group" if groups else "a list of blocks, or groups of them"
            raise SapError(f"{path} must be {allowed}, got {blocks!r} ({type(blocks).__name__}).")
        yield from ((f"{path}[{number}]", block) for number, block in enumerate(blocks))


@cache
def shipped_blocks() -> list[Block]:
    """The blocks of the shipped config.yaml: rows that a study has because nobody named others."""
    return list(resolved_blocks(yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["points"]).values())


def check_blocks(settings: Mapping[str, Any]) -> None:
    """SapError for what the other sections of the config do not give to `points`: anchors, images, seeds, classes."""
    for where, block in settings["points"].items():
        for problem in (*_unserved(block), *_unread(block, settings), *_unshown(block, settings)):
            raise SapError(f"{where}{problem}")


def _resolved(block: Any, where: str) -> Block:
    """Lists for single values, defaults for what is not said, and methods with all their options."""
    if not isinstance(block, Mapping):
        raise SapError(f"{where} must be a mapping such as {{merge: mean}}, got {block!r}.")
    declared, listed = schema()["$defs"]["block"], dict(block)
    for name, field in declared["properties"].items():
        if field["type"] == "array" and name in listed and not isinstance(listed[name], list):
            listed[name] = [listed[name]]
    views = listed.get("views", ())
    for word in views if isinstance(views, list) else ():
        if isinstance(word, str) and word in MOVED:
            raise SapError(f"{where}.views: {word} is no view any more. Write {MOVED[word]}.")
    validate(listed, declared, where)
    filled = with_defaults(listed, declared)
    filled["merge"] = [_named(merge, "merge", "method", f"{where}.merge") for merge in filled["merge"]]
    filled["attack"] = [
        attack if attack == "none" else _named(attack, "attacks", "kind", f"{where}.attack")
        for attack in filled["attack"]
    ]
    filled["finish"] = [
        finish if finish == "none" else _named(finish, "finishes", "method", f"{where}.finish")
        for finish in filled["finish"]
    ]
    known = ["none", *schema()["$defs"]["criteria"]]
    for criterion in filled["criterion"]:
        if criterion not in known:
            raise SapError(f"{where}.criterion: {unknown('criterion', criterion, known)}")
    filled["serve"] = _named(filled["serve"], "kinds", "kind", f"{where}.serve")
    filled["beside"] = [_resolved(other, f"{where}.beside[{n}]") for n, other in enumerate(filled["beside"])]
    return filled


def _named(given: Any, where: str, key: str, path: str) -> dict[str, Any]:
    """`ties` or {method: ties, density: 0.2} -> the method with all its options, checked against its declaration.

    `where` names the declarations ($defs of the schema): `merge` or `finishes`, or `attacks` or `kinds`, where `key` is
    `kind`.
    """
    given = {key: given} if isinstance(given, str) else dict(given)
    if key not in given:
        raise SapError(f"{path}: {key} is missing. Write {{{key}: name, option: value}}.")
    name, known = given.pop(key), schema()["$defs"][where]
    if not isinstance(name, str) or name not in known:
        raise SapError(f"{path}: {unknown(_CALLED[where], name, known)}")
    validate(given, known[name]["options"], f"{path} ({name})")
    return {key: name, **with_defaults(given, known[name]["options"])}


def _unserved(block: Block, inside: bool = False) -> Iterator[str]:
    """What cannot be served as the block asks; `inside`: it is served beside another one."""
    kinds = schema()["$defs"]["kinds"]
    kind = block["serve"]["kind"]
    if len(block["beside"]) != kinds[kind]["beside"]:
        yield f".beside: {kind} is served with {kinds[kind]['beside']} other points, got {len(block['beside'])}."
    if kinds[kind]["group"] and not inside:
        yield f".serve: {kind} is no method. Name it in evaluate.references, or serve another point beside it."
    if "client" in kinds[kind]["reads"]:
        yield f".serve: {kind} is one client's model, and a point has none. Leave it to evaluate.references."
    if kind != "merge" and (block["attack"] != ["none"] or block["stages"] or "everyone" in block["judged_on"]):
        yield f".serve: attacks, other stages and judged_on: everyone see merges, and this is served as {kind}."
    if kind != "merge" and block["views"] != ["main"] and not inside:
        yield f".views: what is served as {kind} is shown in the main table alone, got {block['views']}. Write main."
    if kinds[kind]["needs"] and block["statistics"] != ["client"]:
        yield f".statistics: {kind} reads what clients measure on their own images, so write client, or leave it out."
    defaults = {name: field["default"] for name, field in schema()["$defs"]["block"]["properties"].items()}
    for name in SWEPT if "merge" not in kinds[kind]["reads"] else ():
        if block[name] != defaults[name]:
            yield f".{name} is a setting of a merge, and {kind} reads none. Leave it out."
    trained = block["recipe"] != [PLAIN]
    if trained and (block["attack"] != ["none"] or block["stages"]):
        yield f".recipe: attacks and other stages see plain clients, got {block['recipe']}. Leave one of them out."
    if trained and "clients" in kinds[kind]["reads"]:
        yield f".recipe: {kind} reads the plain clients' uploads beside the merge. Leave it out."
    for number, other in enumerate(block["beside"]):
        for name in ("attack", "views", "judged_on", "stages", "label", "seeds"):
            if other[name] != defaults[name]:
                yield f".beside[{number}].{name} is said by the point around it. Leave it out."
        wide = [name for name in SWEPT if len(other[name]) != 1]
        if wide:
            yield f".beside[{number}].{wide[0]} must have one value, got {other[wide[0]]}."
        yield from (f".beside[{number}]{problem}" for problem in _unserved(other, inside=True))


def _unread(block: Block, settings: Mapping[str, Any]) -> Iterator[str]:
    """What the block's methods would read and the config does not prepare."""
    methods, criteria = schema()["$defs"]["merge"], schema()["$defs"]["criteria"]
    named = [criteria[name] for name in block["criterion"] if name != "none"]
    named += [methods[merge["method"]] for merge in block["merge"]]
    recipes = {PLAIN: settings["train"], **settings["recipes"]}
    for name in block["recipe"]:
        if name not in recipes:
            yield f".recipe: {unknown('recipe', name, list(recipes))}"
    needs = {need for declared in named for need in declared["needs"]}
    if block["recipe"] != [PLAIN] and (read := from_source(ANCHORS, needs) + from_source(STATISTICS, needs)):
        yield (
            f".recipe: {', '.join(read)} of clients is computed for plain clients alone, and this block's methods read "
            "it. Leave recipe out, or merge by a method that reads uploads only."
        )
    anchors, sizes = settings["anchors"], settings["anchors"]["sizes"]
    if any(from_source(ANCHORS, declared["needs"]) for declared in named):
        for size in (size for size in block["anchor_size"] if size not in sizes):
            yield f".anchor_size must be one of anchors.sizes {sizes}, got {size}. Add it there."
        if CLASSES in block["anchor_pool"] and not (anchors["classes"] or PAIRS[anchors["source"]].read_classes):
            yield (
                f".anchor_pool: {CLASSES} are public images of the study's classes, and the {anchors['source']} source "
                "has none. Set anchors.classes to a folder of class/image."
            )
        if "contrastive" in block["alignment"] and min(sizes) < 2:
            yield f".alignment: contrastive compares anchors, so anchors.sizes must be above 1, got {sizes}."
    for number, other in enumerate(block["beside"]):
        yield from (f".beside[{number}]{problem}" for problem in _unread(other, settings))
    for merge in block["merge"]:
        for name in block["recipe"]:
            if name in recipes and (problem := unshared_factor(merge, recipes[name]["lora"])):
                yield f": {problem}"
    for attack in block["attack"]:
        target = attack != "none" and attack.get("target_class")
        if target and target not in settings["data"]["classes"]:
            yield f".attack.target_class: {unknown('class', target, settings['data']['classes'])}"


def _unshown(block: Block, settings: Mapping[str, Any]) -> Iterator[str]:
    """Where and when the block's points are judged and shown, and cannot be."""
    if not block["judged_on"] and not block["stages"]:
        yield ".judged_on: [] and no stages leave nothing to do with these points. Name a stage, or drop the block."
    if "selection" in block["judged_on"] and settings["data"]["split"]["val"] == 0:
        yield (
            ".judged_on: selection reads validation images, and data.split.val is 0. Raise it, or leave out the word."
        )
    if "selection" in block["views"] and "selection" not in block["judged_on"]:
        yield ".views: selection chooses by validation images and anchors. Add judged_on: selection."
    if block["seeds"] is not None and not set(block["seeds"]) & set(settings["seeds"]):
        yield f".seeds must name at least one of seeds {settings['seeds']}, got {block['seeds']}."
    if block["attack"] != ["none"] and "attack" not in block["views"]:
        yield f": points under an attack are shown in the view attack, got {block['views']}."
