"""For how many clients a merge method is valid: rules that its registration names and the plan asks without torch.

Each rule is `rule(n, options)`: n clients, the method's options as attributes; a sentence where it refuses, else None.
f is the number of clients that may be malicious. Where it is null a robust rule takes the largest f that its own
validity allows for the n clients at hand.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MOST_SUBSETS = 200_000  # of clients, that mda looks at: any f of 20 clients, half a second


@dataclass(frozen=True)
class Bound:
    """A rule's validity: n ≥ slope · f + offset clients. `least`: the smallest f that null stands for."""

    slope: int
    offset: int
    least: int = 0

    def tolerated(self, n: int, f: int | None) -> int:
        """f, or where it is null the largest valid one."""
        return max((n - self.offset) // self.slope, self.least) if f is None else f

    def problem(self, n: int, f: int | None) -> str | None:
        """A sentence if a rule of this bound is not valid for n clients, else None."""
        f = self.tolerated(n, f)
        needed = self.slope * f + self.offset
        if n >= needed:
            return None
        return (
            f"needs n >= {self.slope}f+{self.offset} clients: n = {n}, f = {f} needs {needed}. "
            f"{'Lower f, add' if f > self.least else 'Add'} clients, or choose another rule."
        )


MAJORITY = Bound(2, 1)
KRUM = {"paper": Bound(2, 3), "byzfl": Bound(2, 1), "flower": Bound(2, 1)}
BULYAN = Bound(4, 3, least=1)


def majority(n: int, options: Any) -> str | None:
    """Fewer than half of the clients may be malicious."""
    return MAJORITY.problem(n, options.f)


def krum(n: int, options: Any) -> str | None:
    """The bound of the chosen `neighbours`."""
    return KRUM[options.neighbours].problem(n, options.f)


def multi_krum(n: int, options: Any) -> str | None:
    """That of Krum, and as many clients as are averaged."""
    problem = krum(n, options)
    if not problem and (options.m or 1) > n:
        return f"averages m of n clients: n = {n}, m = {options.m}. Lower m."
    return problem


def bulyan(n: int, options: Any) -> str | None:
    """n ≥ 4f+3 with an f of one or more."""
    return BULYAN.problem(n, options.f)


def mda(n: int, options: Any) -> str | None:
    """A majority, and not more subsets than can be looked at."""
    problem = MAJORITY.problem(n, options.f)
    f = MAJORITY.tolerated(n, options.f)
    if problem or math.comb(n, f) <= MOST_SUBSETS:
        return problem
    fitting = max(g for g in range(f) if math.comb(n, g) <= MOST_SUBSETS)
    return (
        f"looks at every choice of n - f clients: n = {n}, f = {f} has {math.comb(n, f)} of them, "
        f"more than {MOST_SUBSETS}. Set f to at most {fitting}, or choose another rule."
    )


def dropped_by_dnc(n: int, options: Any) -> int:
    """⌈c · f⌉: clients that divide and conquer drops in each iteration."""
    return math.ceil(Fraction(str(options.c)) * MAJORITY.tolerated(n, options.f))


def dnc(n: int, options: Any) -> str | None:
    """A majority, of which something is kept."""
    dropped = dropped_by_dnc(n, options)
    if dropped >= n:
        return f"needs n > c*f clients: n = {n}, c*f = {dropped} drops them all. Lower c or f."
    return MAJORITY.problem(n, options.f)


def two_clients(n: int, options: Any) -> str | None:
    """Between two points there is one arc; of more, several."""
    return None if n == 2 else f"needs exactly 2 clients, got {n}. Use `karcher` or `multislerp`."


def enough_agreement(n: int, options: Any) -> str | None:
    """`min_agreement` clients can agree."""
    return _at_most("min_agreement", options.min_agreement, n)


def enough_votes(n: int, options: Any) -> str | None:
    """`min_votes` clients can vote."""
    return _at_most("min_votes", options.min_votes, n)


def keep_probability(n: int, options: Any) -> str | None:
    """density ± epsilon is a probability; whatever the number of clients."""
    low, high = options.density - options.epsilon, options.density + options.epsilon
    if options.density < 1 and not (low > 0 and high < 1):
        return (
            f"density ± epsilon must lie between 0 and 1, got {options.density} ± {options.epsilon}. Lower epsilon, "
            "or keep everything with density 1."
        )
    return None


def one_shared_factor(n: int, options: Any) -> str | None:
    """Projected Grams are those of a shared A; whatever the number of clients."""
    if options.projected and options.shared == "B":
        return "projected Grams serve the B step, which needs a shared A; got shared B. Set one of the two only."
    return None


def _at_most(name: str, value: int, n: int) -> str | None:
    return None if value <= n else f"{name} is {value}, but there are {n} clients. Choose at most {n}."
