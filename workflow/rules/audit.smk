rule audit:
    """What the merges of the main table do with their clients, layer by layer. Rows that are there stay."""
    input:
        planned_inputs("audit"),
    output:
        outputs("audit"),
    log:
        logged("audit"),
    benchmark:
        timed("audit")
    threads: 1
    resources:
        **needed("audit"),
    params:
        script=script("audit"),
        plan=plan("audit"),
        code=code("audit"),
        out=folder("audit"),
    message:
        "audit the merges for {wildcards.target}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
