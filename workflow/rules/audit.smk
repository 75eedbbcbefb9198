rule audit:
    """What the merges of the main table do with their clients, layer by layer. Rows that are there stay."""
    input:
        lambda wildcards: manifest.shard_inputs(plan_of_audit(wildcards)),
    output:
        rows=update("results/audit/{cohort_id}/{target}/seed-{seed}/audit.jsonl"),
        failed="results/audit/{cohort_id}/{target}/seed-{seed}/failed.jsonl",
    log:
        "logs/audit/{cohort_id}/{target}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/audit/{cohort_id}/{target}/seed-{seed}.tsv"
    threads: 1
    resources:
        mem_mb=grows(16000),
        runtime=grows(240),
    params:
        plan=lambda wildcards: manifest.store_plan(plan_of_audit(wildcards), "audit"),
        code=code("audit"),
        out=subpath(output.rows, parent=True),
    message:
        "audit the merges for {wildcards.target}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/audit.py --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
