"""Where images come from. Every file here that does not start with `_` registers its sources when it is imported."""

from importlib import import_module
from pkgutil import iter_modules

from sap.data.sources._api import PAIRS, SOURCES

__all__ = ["PAIRS", "SOURCES"]

for _module in iter_modules(__path__):
    if not _module.name.startswith("_"):
        import_module(f"{__name__}.{_module.name}")
