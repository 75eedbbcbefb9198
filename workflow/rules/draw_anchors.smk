rule draw_anchors:
    """The server's public image-text pairs; the first n of one draw are the set of size n."""
    input:
        inputs_of(captions_of(STUDY.settings["anchors"])),
        backbone=f"{STUDY.folder('prepare_backbone')}/meta.json",
    output:
        outputs("draw_anchors"),
    log:
        logged("draw_anchors"),
    benchmark:
        timed("draw_anchors")
    threads: 1
    resources:
        **needed("draw_anchors"),
    params:
        script=script("draw_anchors"),
        settings=settings("draw_anchors", "id"),
        code=code("draw_anchors"),
        files=stamp_of(captions_of(STUDY.settings["anchors"])),
        backbone=subpath(input.backbone, parent=True),
        out=folder("draw_anchors"),
    message:
        "draw the anchors {wildcards.id}"
    shell:
        "python {params.script:q} --settings {params.settings:q} --backbone {params.backbone:q}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
