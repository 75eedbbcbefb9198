"""Every job that an experiment needs, in the order of the pipeline: where its files lie, and which they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sap.failures import FAILED
from sap.plan.evidence import evidence_jobs
from sap.plan.manifest import rows_owed
from sap.plan.study import Study
from sap.plan.trainees import RESULTS, record_of

# What a finished job leaves in its folder; a test compares with the rules.
OUTPUTS = {
    "prepare_domain": ("images.npy", "index.csv", "skipped.csv", "examples.safetensors", "meta.json"),
    "prepare_backbone": ("open_clip_model.safetensors", "open_clip_config.json", "meta.json"),
    "embed_classes": ("text_features.safetensors", "meta.json"),
    "draw_anchors": ("anchors.safetensors", "anchors.csv", "meta.json"),
    "train_client": ("train.jsonl", "meta.json"),
    "score_client": ("gradients.safetensors", "meta.json"),
    "measure": (FAILED, "meta.json"),
    "diagnose": ("agreement.csv", "saliency.csv", "meta.json"),
    "headroom": ("headroom.safetensors", FAILED, "meta.json"),
    "compare_towers": ("towers.csv", "meta.json"),
    "compare_masks": ("masks.csv", "kept.csv", "meta.json"),
    "probe": ("probe.safetensors", "probe.csv", FAILED, "meta.json"),
    "privacy": ("privacy.csv", "bytes.csv", FAILED, "meta.json"),
    "evaluate": ("rows.jsonl", "predictions.safetensors", FAILED),
    "audit": ("audit.jsonl", FAILED),
}
# What it leaves in the folder that a client hands over; its own folder then is the client's record.
UPLOADS = {
    "train_client": ("adapter_model.safetensors", "adapter_config.json", "meta.json"),
    "measure": ("statistics.safetensors", "meta.json"),
}


@dataclass(frozen=True)
class Job:
    """One job of a rule: its heartbeat lies in `folder`, its files are `outputs`, there and in a client's upload.

    `rows` counts the rows that an evaluation owes per point, in the plan's order; else empty.
    """

    stage: str
    folder: str
    outputs: tuple[str, ...]
    title: str
    rows: Mapping[str, int]

    @property
    def folders(self) -> list[str]:
        """Where its files lie, each once."""
        return list(dict.fromkeys(path.rpartition("/")[0] for path in self.outputs))

    @property
    def benchmark(self) -> str:
        """Where Snakemake writes down the job's seconds."""
        return f"{RESULTS}/benchmarks/{self.stage}/{self.folder.split('/', 2)[2]}.tsv"


def jobs_of(study: Study, reports: Mapping[str, Sequence[str]]) -> list[Job]:
    """The jobs behind the tables and figures of a study, upstream first.

    `reports` names the files of the last stages: {"tables": ["main.csv", ...], "figures": [...], ...}.
    """
    jobs: list[Job] = []

    def add(stage: str, folder: str, title: str = "", rows: Mapping[str, int] | None = None) -> None:
        own = record_of(folder) if stage in UPLOADS else folder
        outputs = [f"{own}/{name}" for name in (OUTPUTS[stage] if stage in OUTPUTS else reports[stage])]
        outputs += [f"{folder}/{name}" for name in UPLOADS.get(stage, ())]
        jobs.append(Job(stage, own, tuple(outputs), title, rows or {}))

    for domain in study.domains:
        add("prepare_domain", study.data_folder(domain), domain)
    add("prepare_backbone", study.backbone_folder)
    add("embed_classes", study.classes_folder)
    for draw in dict.fromkeys(gradient[2] for gradient in study.gradients):
        add("draw_anchors", study.anchors_folder(draw), f"draw {draw}")
    for trainee in study.trainees:
        for seed in study.seeds_of(trainee):
            add("train_client", trainee.folder(seed), f"{trainee.name}, seed {seed}")
    for gradient in study.gradients:
        for client in study.clients:
            for seed in study.seeds:
                add("score_client", study.saliency_folder(gradient, client, seed), f"{client.name}, seed {seed}")
    for kind in study.measured:
        for client in study.clients:
            for seed in study.seeds:
                folder = study.measure_folder(study.measure_id(kind), client, seed)
                add("measure", folder, f"{kind[0]} of {client.name}, seed {seed}")
    for seed in study.seeds:
        add("diagnose", study.diagnose_folder(seed), f"seed {seed}")
    for stage, entries in evidence_jobs(study).items():
        for entry in entries:
            about = [entry[name] for name in ("domain",) if name in entry] + [f"seed {entry['seed']}"]
            add(stage, entry["folder"], ", ".join(about))
    for target in study.folds:
        for shard in range(study.settings["evaluate"]["shards"]):
            for seed in study.seeds:
                rows = rows_owed(study, target, seed, shard)
                add("evaluate", study.shard_folder(target, seed, shard), f"{target}, seed {seed}", rows)
    for target in study.targets:
        for seed in study.audited_seeds:
            add("audit", study.audit_folder(target, seed), f"{target}, seed {seed}")
    for stage in reports:
        add(stage, f"{RESULTS}/{'figures' if stage == 'figures' else 'tables'}/{study.name}")
    return jobs
