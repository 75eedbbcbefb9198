"""EMR's unified update: elect a sign per entry, take the largest agreeing value.

    σ   = + where Σ_k ΔW_k ≥ 0, else −                             (m, n)
    ΔW* = σ max_k |ΔW_k| [sign ΔW_k = σ]                           (m, n)

Huang et al., EMR-Merging, NeurIPS 2024, arXiv:2405.17461. Their masks and rescalers need to know the test image's
task, which a new domain does not have: only the unified update is served, as it stands. It is TIES with density 1 and
`average: max`. Where opposite values cancel exactly the authors' code elects −, TIES by default and this +.
"""

from torch import Tensor

from sap.config import NoOptions
from sap.merge._api import merge_method
from sap.merge._combine import by_sign
from sap.update import Stack


@merge_method("emr", paper="arXiv:2405.17461", family="task vectors")
def emr(stack: Stack, options: NoOptions) -> Tensor:
    """EMR's unified update: the largest value of the elected sign."""
    return by_sign((stack.delta(k) for k in range(len(stack.clients))), average="max")
