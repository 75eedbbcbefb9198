rule train_client:
    """One client trains one adapter on its own domain. No target here: every held-out domain reuses it."""
    input:
        planned_inputs("train_client"),
    output:
        outputs("train_client"),
    log:
        logged("train_client"),
    benchmark:
        timed("train_client")
    threads: 1  # many clients fill the cores better than many threads; see profiles/default
    resources:
        **needed("train_client"),
    params:
        script=script("train_client"),
        plan=plan("train_client"),
        code=code("train_client"),
        out=folder("train_client"),
    message:
        "train {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
