rule privacy:
    """Does an upload tell who was in the training data, before and after pruning? And what does pruning save?"""
    input:
        planned_inputs("privacy"),
    output:
        outputs("privacy"),
    log:
        logged("privacy"),
    benchmark:
        timed("privacy")
    threads: 1
    resources:
        **needed("privacy"),
    params:
        script=script("privacy"),
        plan=plan("privacy"),
        code=code("privacy"),
        out=folder("privacy"),
    message:
        "attack the privacy of the uploads, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
