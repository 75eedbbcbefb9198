rule train_client:
    """One client trains one adapter on its own domain. No target here: every held-out domain reuses it."""
    input:
        backbone=f"{STUDY.backbone_folder}/meta.json",
        classes=f"{STUDY.classes_folder}/meta.json",
        domains=lambda wildcards: [f"{folder}/meta.json" for folder in parts_of(wildcards)],
    output:
        adapter=ensure("results/clients/{train_id}/{trainee}/seed-{seed}/adapter_model.safetensors", non_empty=True),
        config="results/clients/{train_id}/{trainee}/seed-{seed}/adapter_config.json",
        seal="results/clients/{train_id}/{trainee}/seed-{seed}/meta.json",
        history="results/trainings/{train_id}/{trainee}/seed-{seed}/train.jsonl",
        meta="results/trainings/{train_id}/{trainee}/seed-{seed}/meta.json",
    log:
        "logs/train_client/{train_id}/{trainee}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/train_client/{train_id}/{trainee}/seed-{seed}.tsv"
    threads: 1  # many clients fill the cores better than many threads; see profiles/default
    resources:
        gpu=GPU,
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        settings=settings("train_client", "train_id", "trainee"),
        code=code("train_client"),
        backbone=subpath(input.backbone, parent=True),
        classes=subpath(input.classes, parent=True),
        domains=parts_of,
        upload=subpath(output.seal, parent=True),
        out=subpath(output.meta, parent=True),
    message:
        "train {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/train_client.py --trainee {wildcards.trainee:q} --seed {wildcards.seed}"
        " --settings {params.settings:q} --backbone {params.backbone:q} --classes {params.classes:q}"
        " --domains {params.domains:q} --code {params.code} --upload {params.upload:q} --out {params.out:q} &> {log:q}"
