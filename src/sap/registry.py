"""A name-to-entry mapping with two promises: a name is taken once, a wrong name gets a helpful answer."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from sap.errors import SapError

Entry = TypeVar("Entry")

SHOWN = 30


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Ordered registry of `kind` things ("merge method", "criterion").

    >>> colours = Registry("colour")
    >>> colours.add("red", 0xFF0000)
    >>> colours["rad"]
    Traceback (most recent call last):
    sap.errors.SapError: unknown colour 'rad'. Did you mean 'red'? Known: red.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def add(self, name: str, entry: Entry) -> None:
        """Register `entry` under `name`; a second registration of a name is an error."""
        if name in self._entries:
            raise SapError(f"{self.kind} '{name}' is registered twice; choose another name.")
        self._entries[name] = entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise SapError(unknown(self.kind, name, self._entries))
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def unknown(kind: str, name: object, known: Mapping[str, object] | list[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does. Of many names it lists a few."""
    close = difflib.get_close_matches(str(name), list(known), n=SHOWN)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    shown = list(known) if len(known) <= SHOWN else (close or list(known)[:SHOWN])
    others = f" and {len(known) - len(shown)} others" if len(shown) < len(known) else ""
    return f"unknown {kind} '{name}'.{hint} Known: {', '.join(shown) or 'none'}{others}."
