rule prune:
    """One client's update as a point prunes and rescales it, as a file, on demand: for inspection."""
    input:
        unpack(uploads_of_point),
    output:
        pruned=ensure("results/prune/{cohort_id}/{point_id}/{trainee}/seed-{seed}/update.safetensors", non_empty=True),
        meta="results/prune/{cohort_id}/{point_id}/{trainee}/seed-{seed}/meta.json",
    log:
        "logs/prune/{cohort_id}/{point_id}/{trainee}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/prune/{cohort_id}/{point_id}/{trainee}/seed-{seed}.tsv"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        settings=lambda wildcards: canonical(STUDY.point(wildcards.point_id).settings),
        # With that of the point's criterion, which the stage finds by its name.
        code=lambda wildcards: code("prune", *manifest.criterion_modules(STUDY.point(wildcards.point_id).settings)),
        adapter=subpath(input.adapter, parent=True),
        gradients=lambda wildcards, input: ["--gradients", input.gradients] if "gradients" in input.keys() else [],
        statistics=lambda wildcards, input: ["--statistics", *input.statistics] if input.statistics else [],
        out=subpath(output.meta, parent=True),
    message:
        "prune {wildcards.trainee} at {wildcards.point_id}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/prune.py --client {wildcards.trainee:q} --seed {wildcards.seed}"
        " --adapter {params.adapter:q} {params.gradients:q} {params.statistics:q} --settings {params.settings:q}"
        " --code {params.code} --out {params.out:q} &> {log:q}"


rule merge:
    """One merged update as a file, on demand: `evaluate` merges in memory and gives the same predictions."""
    input:
        lambda wildcards: manifest.shard_inputs(plan_of_point(wildcards)),
    output:
        merged=ensure("results/merge/{cohort_id}/{point_id}/{target}/seed-{seed}/update.safetensors", non_empty=True),
        meta="results/merge/{cohort_id}/{point_id}/{target}/seed-{seed}/meta.json",
    log:
        "logs/merge/{cohort_id}/{point_id}/{target}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/merge/{cohort_id}/{point_id}/{target}/seed-{seed}.tsv"
    threads: 1
    resources:
        mem_mb=grows(16000),
        runtime=grows(60),
    params:
        plan=lambda wildcards: manifest.store_plan(plan_of_point(wildcards), "merge"),
        code=code("merge"),
        out=subpath(output.meta, parent=True),
    message:
        "merge {wildcards.point_id} for {wildcards.target}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/merge.py --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
