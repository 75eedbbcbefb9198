rule measure:
    """Gram matrices, Fisher information or sums of features of one client, for the points that ask for them."""
    input:
        planned_inputs("measure"),
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
        plan=plan("measure"),
        code=code("measure"),
        out=folder("measure"),
    message:
        "measure {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
