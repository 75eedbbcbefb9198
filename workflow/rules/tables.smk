localrules:
    tables,


rule tables:
    """Every table as CSV, Markdown, LaTeX and HTML, and the summary, from the rows. Without torch, weights or images."""
    input:
        reporting.report_inputs(STUDY),
    output:
        plain("tables"),
        **reported("tables"),
    log:
        f"logs/tables/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/tables/{STUDY.name}.tsv"
    threads: 1
    params:
        script=script("tables"),
        plan=REPORT_PLAN,
        code=code("tables", *catalogue.modules_of("tables")),
        out=subpath(output[0], parent=True),
    message:
        "write the tables of {params.out}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --out {params.out:q} &> {log:q}"
