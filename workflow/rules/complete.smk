localrules:
    complete,


rule complete:
    """Last of all: status 1 where rows failed, with their sentences. They are handed back, to be tried by the next run."""
    input:
        rules.headroom_table.output,
        rules.tables.output,
        rules.figures.output,
        REPORT.failed,  # what was handed back is asked for here: Snakemake would not miss it behind finished tables
    output:
        f"results/tables/{STUDY.name}/{catalogue.COMPLETE}",
    log:
        f"logs/complete/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/complete/{STUDY.name}.tsv"
    threads: 1
    params:
        script=script("complete"),
        plan=REPORT_PLAN,
        out=subpath(output[0], parent=True),
    message:
        "see whether any row failed"
    shell:
        "python {params.script:q} --plan {params.plan:q} --out {params.out:q} &> {log:q}"
