rule draw_anchors:
    """The server's public image-text pairs; the first n of one draw are the set of size n."""
    input:
        inputs_of(captions_of(STUDY.settings["anchors"])),
        backbone=f"{STUDY.backbone_folder}/meta.json",
    output:
        anchors=ensure("results/anchors/{anchors_id}/anchors.safetensors", non_empty=True),
        index="results/anchors/{anchors_id}/anchors.csv",
        meta="results/anchors/{anchors_id}/meta.json",
    log:
        "logs/draw_anchors/{anchors_id}.log",
    benchmark:
        "results/benchmarks/draw_anchors/{anchors_id}.tsv"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=settings("draw_anchors", "anchors_id"),
        code=code("draw_anchors"),
        files=stamp_of(captions_of(STUDY.settings["anchors"])),
        backbone=subpath(input.backbone, parent=True),
        out=subpath(output.meta, parent=True),
    message:
        "draw the anchors {wildcards.anchors_id}"
    shell:
        "python workflow/scripts/draw_anchors.py --settings {params.settings:q} --backbone {params.backbone:q}"
        " --code {params.code} --out {params.out:q} &> {log:q}"


rule score_client:
    """Gradients of the anchors' alignment at one client's weights: every criterion, ρ and method reads them."""
    input:
        backbone=f"{STUDY.backbone_folder}/meta.json",
        adapter="results/clients/{train_id}/{trainee}/seed-{seed}/meta.json",
        anchors=lambda wildcards: f"{STUDY.anchors_behind(wildcards.saliency_id)}/meta.json",
    output:
        gradients=ensure(
            "results/saliency/{saliency_id}/{train_id}/{trainee}/seed-{seed}/gradients.safetensors", non_empty=True
        ),
        meta="results/saliency/{saliency_id}/{train_id}/{trainee}/seed-{seed}/meta.json",
    log:
        "logs/score_client/{saliency_id}/{train_id}/{trainee}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/score_client/{saliency_id}/{train_id}/{trainee}/seed-{seed}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        settings=settings("score_client", "saliency_id"),
        code=code("score_client"),
        adapter=subpath(input.adapter, parent=True),
        backbone=subpath(input.backbone, parent=True),
        anchors=subpath(input.anchors, parent=True),
        out=subpath(output.meta, parent=True),
    message:
        "score {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/score_client.py --client {wildcards.trainee:q} --seed {wildcards.seed}"
        " --adapter {params.adapter:q} --backbone {params.backbone:q} --anchors {params.anchors:q}"
        " --settings {params.settings:q} --code {params.code} --out {params.out:q} &> {log:q}"


rule diagnose:
    """Where the updates agree, where they conflict, and in which layers the saliency lies."""
    input:
        clients=lambda wildcards: [f"{client.folder(wildcards.seed)}/meta.json" for client in STUDY.clients],
        gradients=lambda wildcards: [
            f"{STUDY.saliency_folder(STUDY.diagnosed, client, wildcards.seed)}/gradients.safetensors"
            for client in STUDY.clients
        ],
    output:
        agreement="results/diagnose/{diagnose_id}/seed-{seed}/agreement.csv",
        saliency="results/diagnose/{diagnose_id}/seed-{seed}/saliency.csv",
        meta="results/diagnose/{diagnose_id}/seed-{seed}/meta.json",
    log:
        "logs/diagnose/{diagnose_id}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/diagnose/{diagnose_id}/seed-{seed}.tsv"
    threads: 1
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
    params:
        code=code("diagnose"),
        size=lambda wildcards: json.loads(STUDY.settings_of("diagnose", wildcards.diagnose_id))["size"],
        names=[client.name for client in STUDY.clients],
        clients=lambda wildcards: [client.folder(wildcards.seed) for client in STUDY.clients],
        out=subpath(output.meta, parent=True),
    message:
        "diagnose the clients, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/diagnose.py --clients {params.clients:q} --names {params.names:q}"
        " --gradients {input.gradients:q} --size {params.size} --seed {wildcards.seed}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
