rule score_client:
    """Gradients of the anchors' alignment at one client's weights: every criterion, ρ and method reads them."""
    input:
        planned_inputs("score_client"),
    output:
        outputs("score_client"),
    log:
        logged("score_client"),
    benchmark:
        timed("score_client")
    threads: 1
    resources:
        **needed("score_client"),
    params:
        script=script("score_client"),
        plan=plan("score_client"),
        code=code("score_client"),
        out=folder("score_client"),
    message:
        "score {wildcards.trainee}, seed {wildcards.seed}"
    shell:
        "python {params.script:q} --plan {params.plan:q} --code {params.code} --out {params.out:q} &> {log:q}"
