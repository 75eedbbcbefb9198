"""Shared step of the methods that let the anchors judge whole updates."""

from collections.abc import Mapping

from sap.update import Stack, Update


def client_update(stacks: Mapping[str, Stack], client: int) -> Update:
    """The whole update of the client at this position."""
    return Update({layer: stack.entry(client) for layer, stack in stacks.items()})
