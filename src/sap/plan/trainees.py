"""Who is trained, and where the result lies."""

from dataclasses import dataclass

RESULTS = "results"
RECORDS = {"clients": "trainings", "measure": "measurements"}  # folder of uploads -> of what their clients keep
NOBODY = "none"  # the target of the fold in which every domain has a client and none is held out


@dataclass(frozen=True)
class Trainee:
    """Whatever is trained: a client, the pooled sources of a target, or the oracle of a domain."""

    name: str
    parts: tuple[tuple[str, int | None], ...]  # (domain, which of its clients; None is the whole domain)
    train_id: str

    def folder(self, seed: int) -> str:
        """What the trainee hands over: the adapter, its sample count, and a seal."""
        return f"{RESULTS}/clients/{self.train_id}/{self.name}/seed-{seed}"


def record_of(upload: str) -> str:
    """Where a client keeps its own record of an upload: under the same names, in a folder beside all uploads."""
    root, stage, names = upload.split("/", 2)
    return f"{root}/{RECORDS[stage]}/{names}"
