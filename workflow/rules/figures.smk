localrules:
    figures,


rule figures:
    """Every figure as PDF and PNG, from the rows, the diagnosis and a few images of each domain."""
    input:
        reporting.report_inputs(STUDY),
    output:
        plain("figures"),
        **reported("figures"),
    log:
        f"logs/figures/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/figures/{STUDY.name}.tsv"
    threads: 1
    params:
        script=script("figures"),
        plan=REPORT_PLAN,
        code=code("figures", *catalogue.modules_of("figures")),
        out=subpath(output[0], parent=True),
    message:
        "draw the figures of {params.out}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --out {params.out:q} &> {log:q}"
