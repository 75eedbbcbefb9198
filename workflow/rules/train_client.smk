rule train_client:
    """One client trains one adapter on its own domain. No target here: every held-out domain reuses it."""
    input:
        backbone=f"{STUDY.folder('prepare_backbone')}/meta.json",
        classes=f"{STUDY.folder('embed_classes')}/meta.json",
        domains=lambda wildcards: [f"{folder}/meta.json" for folder in STUDY.stores(wildcards.id, wildcards.trainee)],
    output:
        outputs("train_client"),
    log:
        logged("train_client"),
    benchmark:
        timed("train_client")
    threads: 1  # many clients fill the cores better than many threads; see profiles/default
    resources:
        **needed("train_client"),
    params:
        script=script("train_client"),
        settings=settings("train_client", "id", "trainee"),
        code=code("train_client"),
        backbone=subpath(input.backbone, parent=True),
        classes=subpath(input.classes, parent=True),
        domains=lambda wildcards: STUDY.stores(wildcards.id, wildcards.trainee),
        upload=uploaded("train_client"),
        out=folder("train_client"),
    message:
        "train {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --trainee {wildcards.trainee:q} --seed {wildcards.seed}"
        " --settings {params.settings:q} --backbone {params.backbone:q} --classes {params.classes:q}"
        " --domains {params.domains:q} --code {params.code} --upload {params.upload:q} --out {params.out:q} &> {log:q}"
