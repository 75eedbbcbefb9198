localrules:
    headroom_table,


rule headroom_table:
    """Is there room for any method above zero-shot? Made, and printed, before any sweep."""
    input:
        [path for stage in ("headroom", "prepare_domain", "draw_anchors") for path in finished(stage)],
    output:
        plain("headroom_table"),
        **reported("headroom_table"),
    log:
        f"logs/headroom_table/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/headroom_table/{STUDY.name}.tsv"
    threads: 1
    params:
        script=script("tables"),
        plan=REPORT_PLAN,
        code=code("tables", *catalogue.modules_of("headroom_table")),
        out=subpath(output[0], parent=True),
    message:
        "write the headroom into {params.out}"
    shell:
        "python {params.script:q} --headroom --plan {params.plan:q} --out {params.out:q} 2>&1 | tee {log:q}"
