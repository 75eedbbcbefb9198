"""Settings that several stages read, and what a training reads: what ids are made from."""

from collections.abc import Mapping
from typing import Any

from sap.train.options import acting

Settings = Mapping[str, Any]


def trainee_fields(
    settings: Settings,
    parts: tuple[tuple[str, int | None], ...],
    corruption: Settings | None = None,
    towers: str | None = None,
    recipe: str | None = None,
) -> dict[str, Any]:
    """train_client: the partition counts where a domain is shared, options of `train` where they act. `towers` replaces
    train.lora.towers, `recipe` the whole of `train`."""
    train = settings["recipes"][recipe] if recipe else settings["train"]
    if towers:
        train = {**train, "lora": {**train["lora"], "towers": towers}}
    return {
        "train": acting(train),
        "parts": [{"domain": domain, "index": index} for domain, index in parts],
        "partition": settings["partition"] if any(index is not None for _, index in parts) else None,
        "corruption": corruption,
    }


def corruption_fields(settings: Settings, name: str) -> dict[str, Any] | None:
    """The config's corruption where it hits this client."""
    corruption = settings["corruption"]
    if corruption["kind"] == "none" or name not in corruption["clients"]:
        return None
    unread = {"clients"} if corruption["kind"] == "backdoor" else {"clients", "patch_size"}
    return {key: value for key, value in corruption.items() if key not in unread}
