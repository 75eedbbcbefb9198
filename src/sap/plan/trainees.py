"""Who is trained, and where the result lies."""

from dataclasses import dataclass

RESULTS = "results"
NOBODY = "none"  # the target of the fold in which every domain has a client and none is held out


@dataclass(frozen=True)
class Trainee:
    """Whatever is trained: a client, the pooled sources of a target, or the oracle of a domain."""

    name: str
    parts: tuple[tuple[str, int | None], ...]  # (domain, which of its clients; None is the whole domain)
    train_id: str

    def folder(self, seed: int) -> str:
        return f"{RESULTS}/clients/{self.train_id}/{self.name}/seed-{seed}"
