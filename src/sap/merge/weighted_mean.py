"""Sample-weighted mean of products.

    ΔW* = Σ_k (n_k / Σ_j n_j) B_k A_k                              (m, n)

McMahan et al., AISTATS 2017, arXiv:1602.05629 (FedAvg, one round, on updates); FLoRA, arXiv:2409.05976.
"""

from sap.config import NoOptions
from sap.factors import Entry
from sap.merge._api import merge_method
from sap.merge._ops import weighted_sum
from sap.update import Stack


@merge_method("weighted_mean", paper="arXiv:1602.05629", family="average", needs={"counts"})
def weighted_mean(stack: Stack, options: NoOptions) -> Entry:
    """Mean of products weighted by the clients' sample counts."""
    return weighted_sum(stack, stack.weights)
