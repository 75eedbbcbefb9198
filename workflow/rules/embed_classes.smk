rule embed_classes:
    """Text features of the class prompts, once for all who train or judge."""
    input:
        planned_inputs("embed_classes"),
    output:
        outputs("embed_classes"),
    log:
        logged("embed_classes"),
    benchmark:
        timed("embed_classes")
    threads: 1
    resources:
        **needed("embed_classes"),
    params:
        script=script("embed_classes"),
        plan=plan("embed_classes"),
        code=code("embed_classes"),
        out=folder("embed_classes"),
    message:
        "embed the class prompts {wildcards.id}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
