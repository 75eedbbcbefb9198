rule measure:
    """Gram matrices or Fisher information of one client's own model, for the merge methods that ask for them."""
    input:
        backbone=f"{STUDY.backbone_folder}/meta.json",
        classes=f"{STUDY.classes_folder}/meta.json",
        adapter="results/clients/{train_id}/{trainee}/seed-{seed}/meta.json",
        inputs=lambda wildcards: [f"{folder}/meta.json" for folder in measured_on(wildcards)],
    output:
        statistics=ensure(
            "results/measure/{measure_id}/{train_id}/{trainee}/seed-{seed}/statistics.safetensors", non_empty=True
        ),
        seal="results/measure/{measure_id}/{train_id}/{trainee}/seed-{seed}/meta.json",
        failed="results/measurements/{measure_id}/{train_id}/{trainee}/seed-{seed}/failed.jsonl",
        meta="results/measurements/{measure_id}/{train_id}/{trainee}/seed-{seed}/meta.json",
    log:
        "logs/measure/{measure_id}/{train_id}/{trainee}/seed-{seed}.log",
    benchmark:
        "results/benchmarks/measure/{measure_id}/{train_id}/{trainee}/seed-{seed}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        settings=settings("measure", "measure_id"),
        share=settings("train_client", "train_id", "trainee"),
        code=code("measure"),
        adapter=subpath(input.adapter, parent=True),
        backbone=subpath(input.backbone, parent=True),
        classes=subpath(input.classes, parent=True),
        inputs=measured_on,
        upload=subpath(output.seal, parent=True),
        out=subpath(output.meta, parent=True),
    message:
        "measure {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/measure.py --client {wildcards.trainee:q} --seed {wildcards.seed}"
        " --settings {params.settings:q} --share {params.share:q} --adapter {params.adapter:q}"
        " --backbone {params.backbone:q} --classes {params.classes:q} --inputs {params.inputs:q}"
        " --code {params.code} --upload {params.upload:q} --out {params.out:q} &> {log:q}"
