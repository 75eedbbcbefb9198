"""On which kind of bed a study stands: does what is learned on the sources help on a domain that nobody held?

transfer = accuracy of pooled training on all sources − accuracy of zero-shot, on the held-out domains

The two kinds rank merges the other way round: where transfer is negative, whatever shrinks the update leads; where it
is positive, whatever keeps it whole does.
"""

from sap.stats.effect import Effect

TRANSFER, NO_TRANSFER, UNTOLD = "sources transfer", "sources do not transfer", "transfer cannot be told"
READING = {
    TRANSFER: "Here a merge gains by keeping what the clients learned, and methods that shrink the update lose it.",
    NO_TRANSFER: (
        "Here whatever shrinks the update leads, so compare a method with the unpruned merge at its norms, and with "
        "a bed on which the sources transfer."
    ),
    UNTOLD: "Merges that keep and merges that shrink the update cannot be told apart by this.",
}


def kind_of_bed(transfer: Effect) -> str:
    """TRANSFER or NO_TRANSFER where the interval lies on one side of zero, UNTOLD else, also where it is NaN."""
    if transfer.low > 0:
        return TRANSFER
    return NO_TRANSFER if transfer.high < 0 else UNTOLD
