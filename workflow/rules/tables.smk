localrules:
    tables,


rule tables:
    """Every table as CSV, Markdown, LaTeX and HTML, and the summary, from the rows. Without torch, weights or images."""
    input:
        reporting.report_inputs(STUDY),
    output:
        expand(
            "results/tables/{experiment}/{name}.{suffix}",
            experiment=STUDY.name,
            name=LATER_TABLES,
            suffix=["csv", "md", "tex"],
        ),
        expand("results/tables/{experiment}/{name}.md", experiment=STUDY.name, name=catalogue.PAGES),
        **reported("tables", "table", LATER_TABLES, "html"),
        **reported("tables", "page", catalogue.PAGES, "html"),
    log:
        f"logs/tables/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/tables/{STUDY.name}.tsv"
    threads: 1
    params:
        script=script("tables"),
        plan=REPORT_PLAN,
        code=code("tables"),
        out=subpath(output[0], parent=True),
    message:
        "write the tables of {params.out}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --out {params.out:q} &> {log:q}"
