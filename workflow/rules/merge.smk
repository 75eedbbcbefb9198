rule merge:
    """One merged update as a file, on demand: `evaluate` merges in memory and gives the same predictions."""
    input:
        planned_inputs("merge"),
    output:
        outputs("merge"),
    log:
        logged("merge"),
    benchmark:
        timed("merge")
    threads: 1
    resources:
        **needed("merge"),
    params:
        script=script("merge"),
        plan=plan("merge"),
        code=code("merge"),
        out=folder("merge"),
    message:
        "merge {wildcards.point} for {wildcards.target}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
