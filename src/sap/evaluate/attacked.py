"""The clients of a fold as an attack leaves them: who sends what, what merges them, what becomes of the attack."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sap.attack._api import attack_updates
from sap.compose import Composer
from sap.errors import SapError
from sap.factors import Factors
from sap.io import canonical
from sap.lowrank import truncate
from sap.plans import FoldPlan
from sap.saliency.anchors import AnchorLoss
from sap.update import Update

Settings = Mapping[str, Any]
Compose = Callable[[Mapping[str, Update], Mapping[str, float] | None], Composer]


class Scenarios:
    """Merges points, clean or under attack. Points of one attack come one after the other, so the last one is kept.

    `compose` (see `sap.evaluate.composer.composers`) makes what merges the clients when some of them are replaced;
    `load` reads and checks a poisoned adapter's folder; `public` makes the judge of the public anchors, which every
    attacker knows, too.
    """

    def __init__(
        self,
        plan: FoldPlan,
        trained: Mapping[str, Update],
        compose: Compose,
        load: Callable[[str], Update],
        public: Callable[[], AnchorLoss],
    ) -> None:
        self._plan, self._load, self._public = plan, load, public
        self._honest = {name: trained[name] for name in plan.clients}
        self._compose = compose
        self._clean = compose({}, None)
        self._last: tuple[str, dict[str, Update]] = ("", {})
        self._last_composer: tuple[str, Composer] = ("", self._clean)

    def merge(self, settings: Settings) -> Update:
        """The update of one point."""
        return self.composer(settings).merge(settings)

    def composer(self, settings: Settings) -> Composer:
        """What merges the clients under the point's attack."""
        if "attack" not in settings:
            return self._clean
        weight = settings.get("attacker_weight")
        key = canonical([settings["attack"], settings["attackers"], weight])
        if self._last_composer[0] != key:
            shares = None if weight is None else self._shares(settings["attackers"], weight)
            self._last_composer = (key, self._compose(self.attackers(settings), shares))
        return self._last_composer[1]

    def anchor_loss(self, update: Update) -> float:
        """Alignment loss of the public anchors under an update: what the server can select by."""
        return self._public().loss(update)

    def client(self, settings: Settings) -> Update:
        """One client alone, as it would upload under the point's attack."""
        name = settings["client"]
        return (self.attackers(settings) if "attack" in settings else self._honest)[name]

    def attackers(self, settings: Settings) -> dict[str, Update]:
        """What the attackers of a point upload: adapters of the rank that everybody's have, so an attack of a higher
        rank is sent as its best approximation."""
        attack, names = settings["attack"], settings["attackers"]
        key = canonical([attack, names])
        if self._last[0] != key:
            known = {name: self._plan.poisoned[name].get(canonical(attack)) for name in names}
            folders = {name: folder for name, folder in known.items() if folder}
            if len(folders) == len(known):
                found = {name: self._load(folder) for name, folder in folders.items()}
            else:
                options = {name: value for name, value in attack.items() if name != "kind"}
                judge = self._public()
                sent = attack_updates(
                    attack["kind"],
                    options,
                    self._honest,
                    names,
                    self._plan.seed,
                    gradient=lambda update: judge.gradients(update)[1],
                    root=lambda: judge.root(self._honest[names[0]]),
                )
                found = {name: _as_upload(sent[name], self._honest[name]) for name in names}
            self._last = (key, found)
        return self._last[1]

    def facts(self, settings: Settings, merged: Update) -> dict[str, Any]:
        """What becomes of the attack in a merge, for the row of a point under attack.

        attacker_weight: coefficient of the attackers together in the least-squares fit of the merged update by what the
        clients uploaded; attacker_norm: norm of their updates over that of the others, a mean each; attacker_kept and
        honest_kept, with pruning: [share of their entries, share of their energy ‖ΔW‖²] that the mask keeps.
        """
        composer = self.composer(settings)
        updates, names = composer.updates, list(composer.clients)
        gram = np.array([[updates[a].inner(updates[b]) for b in names] for a in names])
        fit = np.linalg.lstsq(gram, np.array([merged.inner(updates[name]) for name in names]), rcond=1e-9)[0]
        bad = np.isin(names, settings["attackers"])
        norms = np.sqrt(np.clip(gram.diagonal(), 0, None))
        honest = norms[~bad].mean() if not bad.all() else np.nan
        facts: dict[str, Any] = {"attacker_weight": float(fit[bad].sum())}
        facts["attacker_norm"] = float(norms[bad].mean() / honest) if honest > 0 else None
        if settings["criterion"] != "none" and settings["prune_ratio"] > 0:
            # The mask alone: a rescale would lift what is left.
            masked = {name: _kept(composer, dict(settings) | {"rescale": "none"}, name) for name in names}
            for who, chosen in (("attacker_kept", bad), ("honest_kept", ~bad)):
                facts[who] = np.mean([masked[name] for name in np.array(names)[chosen]], axis=0).tolist()
        return facts

    def _shares(self, attackers: list[str], weight: float) -> dict[str, float]:
        """Weights of all clients: the attackers share `weight` evenly, the others what is left."""
        others = len(self._honest) - len(attackers)
        if not others:
            raise SapError("attacker_weight needs a client that does not attack. Name fewer attackers.")
        weight = min(max(weight, 1e-9), 1 - 1e-9)  # a share must be positive; this is below float32's resolution
        each = {True: weight / len(attackers), False: (1 - weight) / others}
        return {name: each[name in attackers] for name in self._honest}


def _as_upload(sent: Update, own: Update) -> Update:
    layers = {}
    for layer, entry in sent.items():
        adapter = own[layer]
        layers[layer] = truncate(entry, adapter.A.shape[0])[0] if isinstance(adapter, Factors) else entry
    return Update(layers)


def _kept(composer: Composer, settings: Settings, client: str) -> list[float]:
    """[share of entries, share of energy] of a client's update that the point's mask keeps."""
    pruned, whole = composer.prune(settings, client), composer.updates[client]
    entries = sum(int(np.prod(whole.shape(layer))) for layer in whole)
    left = sum(int(pruned.dense(layer).count_nonzero()) for layer in pruned)
    energy = whole.norm() ** 2
    return [left / entries, pruned.norm() ** 2 / energy if energy else 0.0]
