rule embed_classes:
    """Text features of the class prompts, once for all who train or judge."""
    input:
        backbone=f"{STUDY.folder('prepare_backbone')}/meta.json",
    output:
        outputs("embed_classes"),
    log:
        logged("embed_classes"),
    benchmark:
        timed("embed_classes")
    threads: 1
    resources:
        **needed("embed_classes"),
    params:
        script=script("embed_classes"),
        settings=settings("embed_classes", "id"),
        code=code("embed_classes"),
        backbone=subpath(input.backbone, parent=True),
        out=folder("embed_classes"),
    message:
        "embed the class prompts {wildcards.id}"
    shell:
        "python {params.script:q} --backbone {params.backbone:q} --settings {params.settings:q}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
