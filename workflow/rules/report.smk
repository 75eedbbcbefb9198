REPORT = reporting.report_plan(STUDY)
REPORT_PLAN = manifest.store_plan(REPORT, f"report-{STUDY.name}")

LATER_TABLES = {name: title for name, title in catalogue.TABLES.items() if name != catalogue.HEADROOM}


localrules:
    headroom_table,
    tables,
    figures,
    complete,


rule headroom_table:
    """Is there room for any method above zero-shot? Made, and printed, before any sweep."""
    input:
        [
            f"{job['folder']}/{name}"
            for job in REPORT["evidence"].get("headroom", [])
            for name in ("meta.json", "failed.jsonl")
        ],
        [f"{item['folder']}/meta.json" for item in REPORT["data"]],
    output:
        expand("results/tables/{experiment}/headroom.{suffix}", experiment=STUDY.name, suffix=["csv", "md", "tex"]),
        **reported("tables", "table", {catalogue.HEADROOM: catalogue.TABLES[catalogue.HEADROOM]}, "html"),
    log:
        f"logs/headroom_table/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/headroom_table/{STUDY.name}.tsv"
    threads: 1
    params:
        plan=REPORT_PLAN,
        code=code("tables"),
        out=subpath(output[0], parent=True),
    message:
        "write the headroom into {params.out}"
    shell:
        "python workflow/scripts/tables.py --headroom --plan {params.plan:q} --out {params.out:q} 2>&1 | tee {log:q}"


rule tables:
    """Every table as CSV, Markdown, LaTeX and HTML, and the summary, from the rows. Without torch, weights or images."""
    input:
        reporting.report_inputs(REPORT),
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
        plan=REPORT_PLAN,
        code=code("tables"),
        out=subpath(output[0], parent=True),
    message:
        "write the tables of {params.out}"
    shell:
        "python workflow/scripts/tables.py --plan {params.plan:q} --out {params.out:q} &> {log:q}"


rule figures:
    """Every figure as PDF and PNG, from the rows, the diagnosis and a few images of each domain."""
    input:
        reporting.report_inputs(REPORT),
    output:
        expand("results/figures/{experiment}/{name}.pdf", experiment=STUDY.name, name=catalogue.FIGURES),
        **reported("figures", "figure", catalogue.FIGURES, "png"),
    log:
        f"logs/figures/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/figures/{STUDY.name}.tsv"
    threads: 1
    params:
        plan=REPORT_PLAN,
        code=code("figures"),
        out=subpath(output[0], parent=True),
    message:
        "draw the figures of {params.out}"
    shell:
        "python workflow/scripts/figures.py --plan {params.plan:q} --out {params.out:q} &> {log:q}"


rule complete:
    """Last of all: status 1 where rows failed, with their sentences. They are handed back, to be tried by the next run."""
    input:
        rules.headroom_table.output,
        rules.tables.output,
        rules.figures.output,
        REPORT["failed"],  # what was handed back is asked for here: Snakemake would not miss it behind finished tables
    output:
        f"results/tables/{STUDY.name}/{catalogue.COMPLETE}",
    log:
        f"logs/complete/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/complete/{STUDY.name}.tsv"
    threads: 1
    params:
        plan=REPORT_PLAN,
        out=subpath(output[0], parent=True),
    message:
        "see whether any row failed"
    shell:
        "python workflow/scripts/complete.py --plan {params.plan:q} --out {params.out:q} &> {log:q}"
