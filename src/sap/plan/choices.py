"""One point from a command line, and the list of what can be chosen there. No torch: it answers at once.

Adapters alone meet few needs: what reads images, anchors or a model belongs in the workflow.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sap.combinations import check_combination
from sap.config import validate, with_defaults
from sap.errors import SapError
from sap.plan.schema import schema
from sap.registry import unknown
from sap.setting import DEFAULTS, FIELDS, complete

MET = {"counts", "rng"}  # needs that adapters and their weights meet
PRUNING = ("prune_ratio", "space", "rescale")
FLAGS = ("criterion", *PRUNING, "scale")  # fields of a point (sap.setting) that the tool has


def read_point(method: str, options: Sequence[str], given: Mapping[str, str | None]) -> dict[str, Any]:
    """The point of `--method`, `--set OPTION=VALUE ...` and the FLAGS (None: not given), all checked."""
    methods, criteria = schema()["$defs"]["merge"], schema()["$defs"]["criteria"]
    if method not in methods:
        raise SapError(f"--method: {unknown('merge method', method, _runnable(methods))}")
    _check_needs(f"--method {method}", methods[method]["needs"])
    declared, chosen = methods[method]["options"], {}
    for text in options:
        name, separator, value = text.partition("=")
        if not separator:
            raise SapError(f"--set must be OPTION=VALUE, such as density=0.2, got {text!r}.")
        chosen[name] = _value(value, declared["properties"].get(name, {}))
    validate(chosen, declared, f"--set ({method})")
    values = {name: _value(text, FIELDS[name].schema) for name, text in given.items() if text is not None}
    for name, value in values.items():
        validate(value, FIELDS[name].schema, f"--{name.replace('_', '-')}")
    point = {
        "merge": {"method": method, **with_defaults(chosen, declared)},
        "scale": values.pop("scale", DEFAULTS["scale"]),
    }
    criterion = values.pop("criterion", DEFAULTS["criterion"])
    if criterion == "none":
        if values:
            raise SapError(f"--{next(iter(values)).replace('_', '-')} prunes nothing alone. Add --criterion magnitude.")
        return point
    if criterion not in criteria:
        raise SapError(f"--criterion: {unknown('criterion', criterion, ['none', *_runnable(criteria)])}")
    _check_needs(f"--criterion {criterion}", criteria[criterion]["needs"])
    point |= {"criterion": criterion} | {name: values.get(name, DEFAULTS[name]) for name in PRUNING}
    check_combination(complete(point), criteria[criterion], methods[method])
    return point


def list_methods() -> list[str]:
    """Lines: every merge method by family, with what it does, whether adapters alone are enough, and its options."""
    methods = schema()["$defs"]["merge"]
    lines = ["Merge methods. Those marked - need more than adapters: run them in the workflow (docs/methods.md)."]
    for family in dict.fromkeys(entry["family"] for entry in methods.values()):
        lines += ["", family]
        for name, entry in methods.items():
            if entry["family"] != family:
                continue
            unmet = sorted(set(entry["needs"]) - MET)
            lines.append(f"{'-' if unmet else ' '} {name:<22} {entry['summary']}")
            lines += [f"{'':25}cannot run here: needs {', '.join(unmet)}"] if unmet else []
            for option, declared in entry["options"]["properties"].items():
                choices = f" ({', '.join(map(str, declared['enum']))})" if "enum" in declared else ""
                default = json.dumps(declared["default"], ensure_ascii=False)
                lines.append(f"{'':25}{option}={default}{choices}: {declared['description']}")
    return lines


def _runnable(declared: Mapping[str, Any]) -> list[str]:
    """The names that adapters alone are enough for."""
    return [name for name, entry in declared.items() if set(entry["needs"]) <= MET]


def _check_needs(what: str, needs: Sequence[str]) -> None:
    unmet = sorted(set(needs) - MET)
    if unmet:
        raise SapError(
            f"{what} needs {', '.join(unmet)}, which adapters alone do not have. Run it in the workflow "
            "(docs/methods.md), or choose one that --list does not mark."
        )


def _value(text: str, declared: Mapping[str, Any]) -> Any:
    """A flag's text as the JSON value that it spells; as text where it spells none, or where a text is wanted."""
    if declared.get("type") == "string":
        return text
    try:
        return json.loads(text, parse_constant=lambda _: text)
    except ValueError:
        return text
