rule draw_anchors:
    """The server's public image-text pairs; the first n of one draw are the set of size n."""
    input:
        planned_inputs("draw_anchors"),
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
        plan=plan("draw_anchors"),
        code=code("draw_anchors", STUDY.pairs.module),
        out=folder("draw_anchors"),
    message:
        "draw the anchors {wildcards.id}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
