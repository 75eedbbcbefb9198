rule evaluate:
    """Many points in one process: merge in memory, predict, keep one row each. Rows that are there stay; one that
    fails stops no other."""
    input:
        lambda wildcards: manifest.shard_inputs(plan_of_shard(wildcards)),
    output:
        rows=update("results/evaluate/{cohort_id}/{target}/seed-{seed}/shard-{shard}/rows.jsonl"),
        predictions=update("results/evaluate/{cohort_id}/{target}/seed-{seed}/shard-{shard}/predictions.safetensors"),
        failed="results/evaluate/{cohort_id}/{target}/seed-{seed}/shard-{shard}/failed.jsonl",
    log:
        "logs/evaluate/{cohort_id}/{target}/seed-{seed}/shard-{shard}.log",
    benchmark:
        "results/benchmarks/evaluate/{cohort_id}/{target}/seed-{seed}/shard-{shard}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        # No params: they change no number, so they re-run nothing.
        batch_size=STUDY.settings["evaluate"]["batch_size"],
        cache_activations=int(STUDY.settings["evaluate"]["cache_activations"]),
        mem_mb=grows(16000),
        runtime=grows(240),
    params:
        plan=lambda wildcards: manifest.store_plan(plan_of_shard(wildcards), "evaluate"),
        code=code("evaluate"),
        out=subpath(output.rows, parent=True),
    message:
        "evaluate on {wildcards.target}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate.py --plan {params.plan:q} --batch-size {resources.batch_size}"
        " --cache-activations {resources.cache_activations}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
