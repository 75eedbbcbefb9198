from sap.stages.score_client.stage import anchors_behind


rule score_client:
    """Gradients of the anchors' alignment at one client's weights: every criterion, ρ and method reads them."""
    input:
        backbone=f"{STUDY.folder('prepare_backbone')}/meta.json",
        adapter="results/train_client/{train_id}/{trainee}/seed-{seed}/upload/meta.json",
        anchors=lambda wildcards: f"{anchors_behind(STUDY, wildcards.id)}/meta.json",
    output:
        outputs("score_client"),
    log:
        logged("score_client"),
    benchmark:
        timed("score_client")
    threads: 1
    resources:
        **needed("score_client"),
    params:
        script=script("score_client"),
        settings=settings("score_client", "id"),
        code=code("score_client"),
        adapter=subpath(input.adapter, parent=True),
        backbone=subpath(input.backbone, parent=True),
        anchors=subpath(input.anchors, parent=True),
        out=folder("score_client"),
    message:
        "score {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --client {wildcards.trainee:q} --seed {wildcards.seed}"
        " --adapter {params.adapter:q} --backbone {params.backbone:q} --anchors {params.anchors:q}"
        " --settings {params.settings:q} --code {params.code} --out {params.out:q} &> {log:q}"
