rule evaluate:
    """Many points in one process: merge in memory, predict, keep one row each. Rows that are there stay; one that
    fails stops no other."""
    input:
        planned_inputs("evaluate"),
    output:
        outputs("evaluate"),
    log:
        logged("evaluate"),
    benchmark:
        timed("evaluate")
    threads: 1
    resources:
        **needed("evaluate"),
        # No params: they change no number, so they re-run nothing.
        batch_size=STUDY.settings["evaluate"]["batch_size"],
        cache_activations=int(STUDY.settings["evaluate"]["cache_activations"]),
    params:
        script=script("evaluate"),
        plan=plan("evaluate"),
        code=code("evaluate"),
        out=folder("evaluate"),
    message:
        "evaluate on {wildcards.target}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --batch-size {resources.batch_size}"
        " --cache-activations {resources.cache_activations}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
