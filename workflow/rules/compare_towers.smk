rule compare_towers:
    """Do the clients' updates conflict more in the visual tower than in the text tower?"""
    input:
        planned_inputs("compare_towers"),
    output:
        outputs("compare_towers"),
    log:
        logged("compare_towers"),
    benchmark:
        timed("compare_towers")
    threads: 1
    resources:
        **needed("compare_towers"),
    params:
        script=script("compare_towers"),
        plan=plan("compare_towers"),
        code=code("compare_towers"),
        out=folder("compare_towers"),
    message:
        "compare the towers, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
