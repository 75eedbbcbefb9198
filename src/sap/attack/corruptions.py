"""The attacks that act on a client's training data, with their options; `sap.attack.labels` says what each does."""

from dataclasses import dataclass

from sap.attack._api import label_attack
from sap.config import option


@dataclass(frozen=True)
class _Corruption:
    fraction: float = option(1.0, "share of the attacker's training images", low=0, high=1)
    seed: int = option(0, "draw of the corruption", low=0)


@label_attack("uniform", citation="arXiv:1611.03530")
@dataclass(frozen=True)
class Uniform(_Corruption):
    """Training labels become uniformly random wrong ones."""


@label_attack("derangement", citation="arXiv:2007.08432")
@dataclass(frozen=True)
class Derangement(_Corruption):
    """Training labels go through one permutation of the classes without fixed points."""


@label_attack("single", citation="arXiv:2007.08432")
@dataclass(frozen=True)
class Single(_Corruption):
    """Training labels all become one target class."""

    target_class: str | None = option(None, "the class that the labels become; null takes the first")


@label_attack("backdoor", citation="arXiv:1708.06733")
@dataclass(frozen=True)
class Backdoor(_Corruption):
    """Training images get a checkerboard patch in a corner and one target class as their label."""

    fraction: float = option(0.5, "share of the attacker's training images that get the patch", low=0, high=1)
    target_class: str | None = option(None, "the class that the patch stands for; null takes the first")
    patch_size: float = option(0.2, "side of the patch, a share of the image's height", above=0, high=1)
