rule prepare_backbone:
    """The frozen CLIP in open_clip's own format: pretrained on the digits corpus, downloaded, or read from a file."""
    input:
        inputs_of(files_of(STUDY.settings["backbone"])),
    output:
        weights=ensure("results/backbones/{backbone_id}/open_clip_model.safetensors", non_empty=True),
        config="results/backbones/{backbone_id}/open_clip_config.json",
        meta="results/backbones/{backbone_id}/meta.json",
    log:
        "logs/prepare_backbone/{backbone_id}.log",
    benchmark:
        "results/benchmarks/prepare_backbone/{backbone_id}.tsv"
    threads: 1  # a tiny model gains nothing from two, and its sums then do not depend on the machine
    resources:
        gpu=GPU,
        mem_mb=grows(8000),
        runtime=grows(240),
    params:
        settings=settings("prepare_backbone", "backbone_id"),
        code=code("prepare_backbone"),
        files=stamp_of(files_of(STUDY.settings["backbone"])),
        out=subpath(output.meta, parent=True),
    message:
        "prepare the backbone {wildcards.backbone_id}"
    shell:
        "python workflow/scripts/prepare_backbone.py --settings {params.settings:q}"
        " --code {params.code} --threads {threads} --out {params.out:q} 2>&1 | tee {log:q}"


rule embed_classes:
    """Text features of the class prompts, once for all who train or judge."""
    input:
        backbone=f"{STUDY.backbone_folder}/meta.json",
    output:
        features=ensure("results/classes/{classes_id}/text_features.safetensors", non_empty=True),
        meta="results/classes/{classes_id}/meta.json",
    log:
        "logs/embed_classes/{classes_id}.log",
    benchmark:
        "results/benchmarks/embed_classes/{classes_id}.tsv"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=grows(4000),
        runtime=grows(60),
    params:
        settings=settings("embed_classes", "classes_id"),
        code=code("embed_classes"),
        backbone=subpath(input.backbone, parent=True),
        out=subpath(output.meta, parent=True),
    message:
        "embed the class prompts {wildcards.classes_id}"
    shell:
        "python workflow/scripts/embed_classes.py --backbone {params.backbone:q} --settings {params.settings:q}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
