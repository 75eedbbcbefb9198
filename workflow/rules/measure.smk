from sap.stages.measure.stage import measured_on


rule measure:
    """Gram matrices or Fisher information of one client's own model, for the merge methods that ask for them."""
    input:
        backbone=f"{STUDY.folder('prepare_backbone')}/meta.json",
        classes=f"{STUDY.folder('embed_classes')}/meta.json",
        adapter="results/train_client/{train_id}/{trainee}/seed-{seed}/upload/meta.json",
        inputs=lambda wildcards: [f"{folder}/meta.json" for folder in measured_on(STUDY, **wildcards)],
    output:
        outputs("measure"),
    log:
        logged("measure"),
    benchmark:
        timed("measure")
    threads: 1
    resources:
        **needed("measure"),
    params:
        script=script("measure"),
        settings=settings("measure", "id"),
        share=settings("train_client", "train_id", "trainee"),
        code=code("measure"),
        adapter=subpath(input.adapter, parent=True),
        backbone=subpath(input.backbone, parent=True),
        classes=subpath(input.classes, parent=True),
        inputs=lambda wildcards: measured_on(STUDY, **wildcards),
        upload=uploaded("measure"),
        out=folder("measure"),
    message:
        "measure {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --client {wildcards.trainee:q} --seed {wildcards.seed}"
        " --settings {params.settings:q} --share {params.share:q} --adapter {params.adapter:q}"
        " --backbone {params.backbone:q} --classes {params.classes:q} --inputs {params.inputs:q}"
        " --code {params.code} --upload {params.upload:q} --out {params.out:q} &> {log:q}"
