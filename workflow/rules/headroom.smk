rule headroom:
    """Is there room above zero-shot on this domain? Frozen backbone, linear probe and both ceilings, image by image."""
    input:
        planned_inputs("headroom"),
    output:
        outputs("headroom"),
    log:
        logged("headroom"),
    benchmark:
        timed("headroom")
    threads: 1
    resources:
        **needed("headroom"),
    params:
        script=script("headroom"),
        plan=plan("headroom"),
        code=code("headroom"),
        out=folder("headroom"),
    message:
        "headroom on {wildcards.domain}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
