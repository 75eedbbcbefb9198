"""Mean of products: every client counts the same.

    ΔW* = (1/K) Σ_k B_k A_k                                        (m, n)

The exact average of the updates; as factors it is the stacked pair [A_1; …; A_K], [B_1 … B_K]/K of rank Σ r_k
(called stacking in FLoRA, Wang et al., NeurIPS 2024, arXiv:2409.05976; `cat` in peft).
"""

from sap.config import NoOptions
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._ops import weighted_sum
from sap.update import Stack


@merge_method("mean", paper="arXiv:2203.05482", family="average")
def mean(stack: Stack, options: NoOptions) -> Entry:
    """Mean of products (1/K) Σ B_k A_k, the exact average of the updates."""
    return weighted_sum(stack, stack.weights)
