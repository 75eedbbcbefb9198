rule measure:
    """Gram matrices or Fisher information of one client's own model, for the merge methods that ask for them."""
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
