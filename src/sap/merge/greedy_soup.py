"""Greedy soup: clients join the mean, best first, as long as the anchors' loss falls.

    order   clients by their own anchor loss, lowest first; equal ones by name
    S       ← the first; then for each next k: S ∪ {k} if loss(mean of S ∪ {k}) < loss(mean of S), else S
    ΔW*     = (1/|S|) Σ_{k ∈ S} ΔW_k                               (m, n), as factors of rank Σ r_k over S

Wortsman et al., ICML 2022, arXiv:2203.05482 (mlfoundations/model-soups `main.py`). 2K − 1 looks at the anchors.
Departs from the authors' code in what is held out: the alignment loss of the server's anchors, not the accuracy on
labelled images of the training distribution.
"""

from collections.abc import Mapping

from sap.config import NoOptions
from sap.factors import Entry
from sap.merge._anchored import client_update
from sap.merge._api import merge_method
from sap.update import Stack


# Not homogeneous: the anchors' loss decides, and is not linear in the update.
@merge_method(
    "greedy_soup",
    paper="arXiv:2203.05482",
    family="sensitivity",
    scope="model",
    needs={"anchors"},
    homogeneous=False,
)
def greedy_soup(stacks: Mapping[str, Stack], options: NoOptions) -> dict[str, Entry]:
    """Greedy soup: mean of the clients that lower the anchors' loss, added best first."""
    stacks = dict(stacks)
    first = stacks[next(iter(stacks))]
    judge = first.extras["anchors"]
    losses = [judge.loss(client_update(stacks, client)) for client in range(len(first.clients))]
    order = sorted(range(len(losses)), key=lambda client: (losses[client], first.clients[client]))
    total, size, lowest = client_update(stacks, order[0]), 1, losses[order[0]]
    for client in order[1:]:
        candidate = total + client_update(stacks, client)
        loss = judge.loss(candidate.scaled(1 / (size + 1)))
        if loss < lowest:
            total, size, lowest = candidate, size + 1, loss
    return dict(total.scaled(1 / size))
