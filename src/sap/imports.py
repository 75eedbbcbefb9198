"""`import open_clip` and `import peft` without the libraries that they load and a script here never uses.

open_clip spends most of its time in torchvision (which pulls all of torch._dynamo), timm and transformers: image
transforms, and towers that LoRA here cannot adapt. peft spends nearly all of it in transformers: language models.
During such an import they are stood in for by modules whose every attribute is an `Absent`: nothing is an instance of
it, a subclass has no base for it, whoever calls it gets an ImportError. Then the stand-ins leave sys.modules, so that a
later `import transformers` is the real one.

Only `sap.cli.run` switches this on: a script's process is ours alone, a notebook's is not.
"""

import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from types import ModuleType
from typing import Any

UNUSED = {"open_clip": ("timm", "torchvision", "transformers"), "peft": ("transformers",)}


class Absent:
    """Whatever was asked of a module that was not loaded."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> "Absent":
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Absent(f"{self.name}.{attribute}")

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise ImportError(f"{self.name}: scripts import {' and '.join(UNUSED)} without it, see sap.imports.")

    def __or__(self, _other: Any) -> "Absent":  # `PreTrainedModel | Module` in an annotation
        return self

    __ror__ = __or__

    def __instancecheck__(self, _instance: object) -> bool:
        return False

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()


class StandIn(ModuleType):
    """A module that was not loaded. Its version is the installed one's: peft chooses its code by it."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "__version__":
            return importlib.metadata.version(self.__name__)
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Absent(f"{self.__name__}.{attribute}")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the libraries of UNUSED with a loader of its own, and stand-ins for `unused` while that loader works."""

    def __init__(self) -> None:
        self.unused: tuple[str, ...] = ()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in self.unused:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if name not in UNUSED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Without(spec.loader, self, name)
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Without(importlib.abc.Loader):
    """Loads `library` without what it leaves unused, except what is there; with all of it where that fails."""

    def __init__(self, loader: Any, finder: _Finder, library: str) -> None:
        self.loader, self.finder, self.library = loader, finder, library

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.finder.unused = tuple(name for name in UNUSED[self.library] if name not in sys.modules)
        try:
            self.loader.exec_module(module)
        except Exception:  # another version that does more with them: slower, not broken
            _forget(lambda name, _: name.startswith(f"{self.library}."))
            self._restore()
            self.loader.exec_module(module)
        finally:
            self._restore()

    def _restore(self) -> None:
        self.finder.unused = ()
        _forget(lambda _, module: isinstance(module, StandIn))


def _forget(condemned: Any) -> None:
    for name in [name for name, module in sys.modules.items() if condemned(name, module)]:
        del sys.modules[name]


def leave_out_unused() -> None:
    """From here on the libraries of UNUSED are imported without what they leave unused, in this process."""
    sys.meta_path.insert(0, _Finder())
