"""Registration of merge methods, and the one way to run them.

A method is one function in one file, `fn(stack, options) -> ΔW`, where the stack is one layer of K clients and ΔW a
dense (m, n) tensor or, if it stayed low-rank, Factors. Its registration declares everything else that the project
wants to know: citation, needs (the ledger), validity rules, option bounds (schema, docs), and which general
properties it has (the property tests run over the registry).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sap.config import NoOptions, schema_of
from sap.errors import SapError
from sap.needs import check_needs
from sap.registry import Registry
from sap.update import Stack, Update

OF_CLIENTS = ("gradient", "gram", "fisher")  # extras of a stack: a function of k, the number of a client
MERGE_NEEDS = ("counts", "rng", *OF_CLIENTS, "root", "anchors")
FAMILIES = ("average", "task vectors", "subspace", "statistics", "sensitivity", "robust")


@dataclass(frozen=True)
class Method:
    """One merge method and what it declared; see `merge_method`."""

    name: str
    function: Callable[..., Any]
    paper: str
    family: str
    options: type
    space: str
    scope: str
    needs: Mapping[str, Mapping[str, tuple[Any, ...]]]
    check: Callable[[int, Any], str | None] | None
    average: bool
    homogeneous: bool
    uploads: Callable[[Any, int, int, int], int] | None
    checked: str

    def merge(self, stacks: Mapping[str, Stack], options: Any) -> Update:
        """ΔW of every layer. `stacks`: layer -> Stack (may be built on demand); `options`: an instance of `options`.

        Raises SapError where the clients do not satisfy what the method declared.
        """
        first = stacks[next(iter(stacks))]
        self.check_clients(len(first.clients), options)
        if self.scope == "model":
            if self.space == "factors":
                self._ready(first)
            merged = Update(self.function(stacks, options))
        else:
            merged = Update({layer: self.function(self._ready(stacks[layer]), options) for layer in stacks})
        return merged.check_finite(f"merge.{self.name}", "Choose another method, or other options of it.")

    def needed(self, options: Any) -> set[str]:
        """What the method reads with these options."""
        return {
            need
            for need, when in self.needs.items()
            if all(getattr(options, option) in values for option, values in when.items())
        }

    def check_clients(self, n_clients: int, options: Any) -> None:
        """SapError where the method's validity rule refuses this number of clients."""
        problem = self.check and self.check(n_clients, options)
        if problem:
            raise SapError(f"merge.{self.name}: {problem}")

    def _ready(self, stack: Stack) -> Stack:
        if self.space == "factors" and not stack.low_rank:
            raise SapError(
                f"merge.{self.name} merges factors, but layer {stack.layer} has dense updates. "
                "Prune in space `factors` or choose a merge method of dense updates, such as `mean`."
            )
        return stack


METHODS: Registry[Method] = Registry("merge method")


def merge_method(
    name: str,
    paper: str,
    family: str,
    options: type = NoOptions,
    space: str = "delta",
    scope: str = "layer",
    needs: Collection[str] | Mapping[str, Mapping[str, tuple[Any, ...]]] = (),
    check: Callable[[int, Any], str | None] | None = None,
    average: bool = True,
    homogeneous: bool = True,
    uploads: Callable[[Any, int, int, int], int] | None = None,
    checked: str = "",
) -> Callable:
    """Register a merge method.

    `paper`: citation; `family`: one of FAMILIES; `options`: dataclass of `sap.config.option` fields; `space`: "delta"
    reads stack.dense (or factors where they exist), "factors" must have stack.factors; `scope`: "layer" is called with
    one Stack, "model" with {layer: Stack} and returns {layer: ΔW};
    `needs`: of MERGE_NEEDS (see sap.needs), nothing else is passed; a mapping says with which options:
    {"counts": {"weights": ("samples",)}}. `counts` are in stack.weights, the others in stack.extras: OF_CLIENTS as
    k -> tensor, `rng` as name -> generator of this layer, to be named after the client that draws, the rest as it is;
    `check(n_clients, options)`: a rule of `sap.validity`, which the plan asks, too, before anything runs: a sentence if
    the method is not valid (Krum: n ≥ 2f+3), else None;
    `average`: K equal clients give that client; `homogeneous`: c · every ΔW_k gives c · ΔW for c > 0.
    Where one of the two does not hold, pass False with a comment that says why.
    `uploads(options, m, n, r)`: numbers that a client sends for one layer besides its adapter (the ledger's bytes);
    None where it sends nothing else;
    `checked`: what its values were compared with, a public repository and file or a closed form; shown in the docs.
    """
    if family not in FAMILIES:
        raise TypeError(f"merge method {name}: family must be one of {FAMILIES}, was {family!r}")
    if space not in ("delta", "factors") or scope not in ("layer", "model"):
        raise TypeError(f"merge method {name}: space {space!r} or scope {scope!r} does not exist")
    check_needs(f"merge method {name}", needs, MERGE_NEEDS)
    if check and check.__module__ != "sap.validity":
        raise TypeError(f"merge method {name}: its check must be a function of sap.validity, which the plan can ask")
    conditions = {need: dict(needs[need]) if isinstance(needs, Mapping) else {} for need in sorted(needs)}

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        declared = (paper, family, options, space, scope, conditions, check, average, homogeneous, uploads, checked)
        METHODS.add(name, Method(name, function, *declared))
        return function

    return register


def describe() -> dict[str, dict[str, Any]]:
    """Name -> what was declared, as plain JSON: schema, docs and ledger come from it.

    `needs` lists all that the method may read; `conditions` says with which options, where not with all. `check` is the
    name of its rule in `sap.validity`, None where any number of clients is valid.
    """
    return {
        name: {
            "module": method.function.__module__,
            "summary": (method.function.__doc__ or "").strip().split("\n")[0],
            "paper": method.paper,
            "family": method.family,
            "space": method.space,
            "scope": method.scope,
            "needs": list(method.needs),
            "conditions": {
                need: {option: list(values) for option, values in when.items()}
                for need, when in method.needs.items()
                if when
            },
            "check": method.check and method.check.__name__,
            "checked": method.checked,
            "options": schema_of(method.options),
        }
        for name, method in METHODS.items()
    }
