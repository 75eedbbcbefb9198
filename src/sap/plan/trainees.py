"""Who is trained."""

from dataclasses import dataclass, field

from sap.plan.stage import RESULTS, Identity
from sap.plans import UPLOAD

NOBODY = "none"  # the target of the fold in which every domain has a client and none is held out


@dataclass(frozen=True)
class Trainee:
    """Whatever is trained. `kind`: client, pooled, oracle, towers, poisoned or recipe, of whoever asks first."""

    name: str
    parts: tuple[tuple[str, int | None], ...]  # (domain, which of its clients; None is the whole domain)
    identity: Identity
    kind: str = field(default="client", compare=False)

    @property
    def train_id(self) -> str:
        return self.identity.id

    def folder(self, seed: int | str) -> str:
        """What the trainee hands over: the adapter, its sample count, and a seal."""
        return f"{RESULTS}/train_client/{self.train_id}/{self.name}/seed-{seed}/{UPLOAD}"
