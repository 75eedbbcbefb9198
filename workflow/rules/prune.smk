rule prune:
    """One client's update as a point prunes and rescales it, as a file, on demand: for inspection."""
    input:
        planned_inputs("prune"),
    output:
        outputs("prune"),
    log:
        logged("prune"),
    benchmark:
        timed("prune")
    threads: 1
    resources:
        **needed("prune"),
    params:
        script=script("prune"),
        plan=plan("prune"),
        code=code("prune"),
        out=folder("prune"),
    message:
        "prune {wildcards.trainee} at {wildcards.point}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
