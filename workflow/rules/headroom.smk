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
        plan=plan("headroom"),
        code=code("headroom"),
        out=folder("headroom"),
    message:
        "headroom on {wildcards.domain}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/headroom.py --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
