"""Reading configs as Snakemake does, for scripts that look at an experiment without running it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sap.errors import SapError


def read_config(overlays: Sequence[str | Path], base: str | Path = "config.yaml") -> dict[str, Any]:
    """`base` with each overlay on top, in order: mappings merge, anything else replaces.

    Raises SapError for a file that is missing or is no YAML mapping.
    """
    config: dict[str, Any] = {}
    for path in (base, *overlays):
        try:
            read = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise SapError(f"{path} cannot be read as a config ({error}). Name a YAML file.") from error
        if not isinstance(read, Mapping):
            raise SapError(f"{path} is no config: a YAML mapping was expected. Start from config.yaml.")
        config = _merged(config, read)
    return config


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping):
            old = merged.get(key)
            merged[key] = _merged(old if isinstance(old, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
