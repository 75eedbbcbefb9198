"""Reading configs as Snakemake does, for scripts that look at an experiment; and the values of --config, as YAML."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sap.errors import SapError

SHIPPED = Path(__file__).with_name("config.yaml")  # in a checkout a link to the one at its root


def base_config() -> Path:
    """The config below all overlays: config.yaml of the working folder, or the shipped one where there is none."""
    own = Path("config.yaml")
    return own if own.exists() else SHIPPED


def read_config(
    overlays: Sequence[str | Path], base: str | Path | None = None, values: Sequence[str] = ()
) -> dict[str, Any]:
    """`base` with the overlays and then `values` (see `with_values`) on top: mappings merge, anything else replaces.

    As in Snakemake the overlays are merged with one another first: a list that a later overlay's mapping replaces is
    gone before the base is seen.
    Without `base` it is `base_config()`. Raises SapError for a file that is missing or is no YAML mapping, and for a
    value that is no YAML.
    """
    above: dict[str, Any] = {}
    for path in overlays:
        above = merged(above, _read(path))
    return with_values(merged(_read(base or base_config()), above), values)


def on_shipped(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as an overlay on the shipped one: what a workflow gives its module."""
    return merged(_read(SHIPPED), config)


def _read(path: str | Path) -> Mapping[str, Any]:
    try:
        read = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SapError(f"{path} cannot be read as a config ({error}). Name a YAML file.") from error
    if not isinstance(read, Mapping):
        raise SapError(f"{path} is no config: a YAML mapping was expected. Start from config.yaml.")
    return read


def with_values(config: Mapping[str, Any], values: Sequence[str]) -> dict[str, Any]:
    """`config` with the KEY=VALUE of `--config` on top, in order, each value read as YAML, as it would be in a file.

    Snakemake reads them, too, but leaves every number inside a list or mapping a text; what it merged is replaced here.
    """
    found = dict(config)
    for given in values:
        key, _, text = given.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SapError(
                f"--config {given}: what follows the = is no YAML ({error}). Write it as in a config file, such as "
                "--config 'train={epochs: 3}'."
            ) from error
        found = merged(found, {key: value})
    return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with `above` on top: mappings merge, anything else replaces."""
    found = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping):
            old = found.get(key)
            found[key] = merged(old if isinstance(old, Mapping) else {}, value)
        else:
            found[key] = value
    return found
