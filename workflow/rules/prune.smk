from sap.stages.prune.stage import read_by


rule prune:
    """One client's update as a point prunes and rescales it, as a file, on demand: for inspection."""
    input:
        unpack(lambda wildcards: read_by(STUDY, **wildcards)),
    output:
        outputs("prune"),
    log:
        logged("prune"),
    benchmark:
        timed("prune")
    threads: 1
    resources:
        **needed("prune"),
    params:
        script=script("prune"),
        settings=lambda wildcards: canonical(STUDY.point(wildcards.point).settings),
        # With that of the point's criterion, which the stage finds by its name.
        code=lambda wildcards: code("prune", *criterion_modules(STUDY.point(wildcards.point).settings)),
        adapter=subpath(input.adapter, parent=True),
        gradients=lambda wildcards, input: ["--gradients", input.gradients] if "gradients" in input.keys() else [],
        statistics=lambda wildcards, input: ["--statistics", *input.statistics] if input.statistics else [],
        out=folder("prune"),
    message:
        "prune {wildcards.trainee} at {wildcards.point}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --client {wildcards.trainee:q} --seed {wildcards.seed}"
        " --adapter {params.adapter:q} {params.gradients:q} {params.statistics:q} --settings {params.settings:q}"
        " --code {params.code} --out {params.out:q} &> {log:q}"
