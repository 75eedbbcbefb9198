rule measure:
    """Grams, Fisher information, sums of features or the accuracy curve of one client, for the points that ask."""
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
