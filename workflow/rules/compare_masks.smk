rule compare_masks:
    """Do the masks of one client agree across anchor draws and sizes? And where do the kept entries lie?"""
    input:
        planned_inputs("compare_masks"),
    output:
        outputs("compare_masks"),
    log:
        logged("compare_masks"),
    benchmark:
        timed("compare_masks")
    threads: 1
    resources:
        **needed("compare_masks"),
    params:
        script=script("compare_masks"),
        plan=plan("compare_masks"),
        code=code("compare_masks"),
        out=folder("compare_masks"),
    message:
        "compare the masks, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
