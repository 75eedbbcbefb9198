rule diagnose:
    """Where the updates agree, where they conflict, and in which layers the saliency lies."""
    input:
        planned_inputs("diagnose"),
    output:
        outputs("diagnose"),
    log:
        logged("diagnose"),
    benchmark:
        timed("diagnose")
    threads: 1
    resources:
        **needed("diagnose"),
    params:
        script=script("diagnose"),
        plan=plan("diagnose"),
        code=code("diagnose"),
        out=folder("diagnose"),
    message:
        "diagnose the clients, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
