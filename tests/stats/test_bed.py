"""The kind of a bed is told by the interval of the transfer alone."""

import numpy as np
import pytest

from sap.stats.bed import NO_TRANSFER, READING, TRANSFER, UNTOLD, kind_of_bed
from sap.stats.effect import MISSING_EFFECT


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0.001, 0.3, TRANSFER),
        (-0.3, -0.001, NO_TRANSFER),
        (-0.1, 0.3, UNTOLD),
        (0.0, 0.3, UNTOLD),
        (np.nan, np.nan, UNTOLD),
    ],
)
def test_only_an_interval_on_one_side_of_zero_tells(low, high, kind):
    assert kind_of_bed(MISSING_EFFECT._replace(low=low, high=high)) == kind
    assert READING[kind]
