"""peft's rank_pattern and alpha_pattern of an adapter that somebody else made: what they mean, in bounded time.

A pattern is a regular expression for Python, written by a stranger. RE2 matches it, in time linear in pattern and text,
and only where Python reads it in the same way.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import re2

from sap.errors import SapError, shown

LONGEST = 2000  # characters; an alternation over the 80 layers of a large model has 1,200
ALL = 2**17  # characters of all patterns, compiled in 5 s at the worst; 560 module paths of 50 have 28,000
PROGRAM_BYTES = 2**16  # RE2's memory for one pattern, 3,600 instructions; that alternation has 900
STEPS = 2**31  # instructions × characters of a name, each 3 ns at the worst; those 560 paths take half of it
PER_NAME = 64  # characters' worth of asking about one name

# What RE2 accepts and Python reads otherwise: \1 (octal there), a{,2} (literal there), [[:alpha:]] (a class there).
# An escaped character is passed over, so that the 1 of \\1 is none of it.
READ_OTHERWISE = re.compile(r"\\\D|(?P<odd>\\\d|\{,|\[:)", re.DOTALL)


def match_patterns(patterns: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Name -> value of the first pattern that matches the end of its path, for the names that one matches.

    As peft's `get_pattern_key` has it: `re.match(rf"(.*\\.)?({pattern})$", name)`, and like there a pattern behind the
    one that settles the last name is not looked at. Names are ASCII. Raises SapError naming a pattern that Python and
    RE2 do not both know, and where all of them together would take too long.
    """
    found: dict[str, Any] = {}
    left, steps, characters = list(names), 0, sum(map(len, patterns))
    if characters > ALL:
        raise SapError(
            f"its patterns have {characters} characters, at most {ALL} are read. Write fewer or shorter ones."
        )
    for pattern, value in patterns.items():
        if not left:
            break
        program = _compiled(pattern)
        steps += program.programsize * sum(len(name) + PER_NAME for name in left)
        if steps > STEPS:
            raise SapError(
                f"{len(patterns)} patterns would take too long to match with {len(left)} modules, the bound ends "
                f"before {shown(pattern)}. Write fewer or shorter ones."
            )
        found |= {name: value for name in left if program.match(name)}
        left = [name for name in left if name not in found]
    return found


def _compiled(pattern: str) -> Any:
    """RE2's program for peft's expression around a pattern."""
    whole, options = rf"(.*\.)?({pattern})$", re2.Options()
    options.max_mem, options.log_errors = PROGRAM_BYTES, False  # it would log to stderr
    try:
        if len(pattern) > LONGEST or not pattern.isascii():
            raise ValueError(f"it must be ASCII of at most {LONGEST} characters")
        with warnings.catch_warnings(action="ignore"):
            re.compile(whole)
        for found in READ_OTHERWISE.finditer(pattern):
            if found["odd"]:
                raise ValueError(f"{found['odd']} means different things to different engines")
        return re2.compile(whole, options)
    except re2.error as error:
        raise _unusable(pattern, error.args[0].decode()) from error
    except re.error as error:
        raise _unusable(pattern, error.msg) from error  # its position counts what stands before the pattern, too
    except (ValueError, RecursionError, OverflowError) as error:
        raise _unusable(pattern, str(error)) from error


def _unusable(pattern: str, reason: str) -> SapError:
    return SapError(
        f"the pattern {shown(pattern)} cannot be used ({reason}). Name modules, with groups, sets and repeats, but "
        "without lookaround and backreferences."
    )
