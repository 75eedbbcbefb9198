rule diagnose:
    """Where the updates agree, where they conflict, and in which layers the saliency lies."""
    input:
        clients=lambda wildcards: [f"{client.folder(wildcards.seed)}/meta.json" for client in STUDY.clients],
        gradients=lambda wildcards: [
            f"{STUDY.job_on_client('score_client', STUDY.diagnosed, client, wildcards.seed).folder}/gradients.safetensors"
            for client in STUDY.clients
        ],
    output:
        outputs("diagnose"),
    log:
        logged("diagnose"),
    benchmark:
        timed("diagnose")
    threads: 1
    resources:
        **needed("diagnose"),
    params:
        script=script("diagnose"),
        code=code("diagnose"),
        size=lambda wildcards: STUDY.settings_of("diagnose", wildcards.id)["size"],
        names=[client.name for client in STUDY.clients],
        clients=lambda wildcards: [client.folder(wildcards.seed) for client in STUDY.clients],
        out=folder("diagnose"),
    message:
        "diagnose the clients, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --clients {params.clients:q} --names {params.names:q}"
        " --gradients {input.gradients:q} --size {params.size} --seed {wildcards.seed}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
