rule headroom:
    """Is there room above zero-shot on this domain? Frozen backbone, linear probe and both ceilings, image by image."""
    input:
        lambda wildcards: evidence.headroom_inputs(STUDY, wildcards.domain, int(wildcards.seed)),
    output:
        images=ensure("results/headroom/{headroom_id}/{domain}/seed-{seed}/headroom.safetensors", non_empty=True),
        failed="results/headroom/{headroom_id}/{domain}/seed-{seed}/failed.jsonl",
        meta="results/headroom/{headroom_id}/{domain}/seed-{seed}/meta.json",
    log:
        "logs/headroom/{headroom_id}/{domain}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/headroom/{headroom_id}/{domain}/seed-{seed}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=grows(16000),
        runtime=grows(120),
    params:
        plan=lambda wildcards: manifest.store_plan(
            evidence.headroom_plan(STUDY, wildcards.domain, int(wildcards.seed)), "headroom"
        ),
        code=code("headroom"),
        out=subpath(output.meta, parent=True),
    message:
        "headroom on {wildcards.domain}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/headroom.py --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"


rule compare_towers:
    """Do the clients' updates conflict more in the visual tower than in the text tower?"""
    input:
        lambda wildcards: evidence.adapters_of(evidence.towers_plan(STUDY, int(wildcards.seed))),
    output:
        towers="results/compare_towers/{towers_id}/seed-{seed}/towers.csv",
        meta="results/compare_towers/{towers_id}/seed-{seed}/meta.json",
    log:
        "logs/compare_towers/{towers_id}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/compare_towers/{towers_id}/seed-{seed}.tsv"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        plan=plan_of_seed(evidence.towers_plan),
        code=code("compare_towers"),
        out=subpath(output.meta, parent=True),
    message:
        "compare the towers, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/compare_towers.py --plan {params.plan:q} --code {params.code} --out {params.out:q}"
        " &> {log:q}"


rule compare_masks:
    """Do the masks of one client agree across anchor draws and sizes? And where do the kept entries lie?"""
    input:
        lambda wildcards: evidence.adapters_of(evidence.masks_plan(STUDY, int(wildcards.seed))),
    output:
        masks="results/compare_masks/{masks_id}/seed-{seed}/masks.csv",
        kept="results/compare_masks/{masks_id}/seed-{seed}/kept.csv",
        meta="results/compare_masks/{masks_id}/seed-{seed}/meta.json",
    log:
        "logs/compare_masks/{masks_id}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/compare_masks/{masks_id}/seed-{seed}.tsv"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        plan=plan_of_seed(evidence.masks_plan),
        code=code("compare_masks"),
        out=subpath(output.meta, parent=True),
    message:
        "compare the masks, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/compare_masks.py --plan {params.plan:q} --code {params.code} --out {params.out:q}"
        " &> {log:q}"


rule probe:
    """Can domain and class be read from the features after pruning? Linear probes under the points of the view probe."""
    input:
        lambda wildcards: manifest.shard_inputs(evidence.probe_plan(STUDY, int(wildcards.seed))),
    output:
        correct=ensure("results/probe/{probe_id}/seed-{seed}/probe.safetensors", non_empty=True),
        rows="results/probe/{probe_id}/seed-{seed}/probe.csv",
        failed="results/probe/{probe_id}/seed-{seed}/failed.jsonl",
        meta="results/probe/{probe_id}/seed-{seed}/meta.json",
    log:
        "logs/probe/{probe_id}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/probe/{probe_id}/seed-{seed}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=grows(16000),
        runtime=grows(240),
    params:
        plan=plan_of_seed(evidence.probe_plan),
        code=code("probe"),
        out=subpath(output.meta, parent=True),
    message:
        "probe the features, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/probe.py --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"


rule privacy:
    """Does an upload tell who was in the training data, before and after pruning? And what does pruning save?"""
    input:
        lambda wildcards: manifest.shard_inputs(evidence.privacy_plan(STUDY, int(wildcards.seed))),
    output:
        members="results/privacy/{privacy_id}/seed-{seed}/privacy.csv",
        bytes="results/privacy/{privacy_id}/seed-{seed}/bytes.csv",
        failed="results/privacy/{privacy_id}/seed-{seed}/failed.jsonl",
        meta="results/privacy/{privacy_id}/seed-{seed}/meta.json",
    log:
        "logs/privacy/{privacy_id}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/privacy/{privacy_id}/seed-{seed}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=grows(16000),
        runtime=grows(240),
    params:
        plan=plan_of_seed(evidence.privacy_plan),
        code=code("privacy"),
        out=subpath(output.meta, parent=True),
    message:
        "attack the privacy of the uploads, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/privacy.py --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
