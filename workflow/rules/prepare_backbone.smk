rule prepare_backbone:
    """The frozen CLIP in open_clip's own format: pretrained on a corpus, downloaded, or read from a file."""
    input:
        planned_inputs("prepare_backbone"),
    output:
        outputs("prepare_backbone"),
    log:
        logged("prepare_backbone"),
    benchmark:
        timed("prepare_backbone")
    threads: 1  # a tiny model gains nothing from two, and its sums then do not depend on the machine
    resources:
        **needed("prepare_backbone"),
    params:
        script=script("prepare_backbone"),
        plan=plan("prepare_backbone"),
        code=code("prepare_backbone", *STUDY.corpus_modules),
        out=folder("prepare_backbone"),
    message:
        "prepare the backbone {wildcards.id}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --threads {threads} --out {params.out:q} 2>&1 | tee {log:q}"
