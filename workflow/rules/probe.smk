rule probe:
    """Can domain and class be read from the features after pruning? Linear probes under the points of the view probe."""
    input:
        planned_inputs("probe"),
    output:
        outputs("probe"),
    log:
        logged("probe"),
    benchmark:
        timed("probe")
    threads: 1
    resources:
        **needed("probe"),
    params:
        script=script("probe"),
        plan=plan("probe"),
        code=code("probe"),
        out=folder("probe"),
    message:
        "probe the features, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
