rule prepare_domain:
    """Decode one domain's images once, at the backbone's input size, and write down its split."""
    input:
        planned_inputs("prepare_domain"),
    output:
        outputs("prepare_domain"),
    log:
        logged("prepare_domain"),
    benchmark:
        timed("prepare_domain")
    threads: STUDY.source.threads
    resources:
        **needed("prepare_domain"),
    params:
        script=script("prepare_domain"),
        plan=plan("prepare_domain"),
        code=code("prepare_domain", STUDY.source.module),
        out=folder("prepare_domain"),
    message:
        "decode {wildcards.domain}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --threads {threads} --out {params.out:q} &> {log:q}"
