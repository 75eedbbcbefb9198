rule prepare_domain:
    """Decode one domain's images once, at the backbone's input size, and write down its split."""
    output:
        outputs("prepare_domain"),
    log:
        logged("prepare_domain"),
    benchmark:
        timed("prepare_domain")
    threads: 1 if STUDY.settings["data"]["source"] == "digits" else 4  # decoding files is the work here
    resources:
        **needed("prepare_domain"),
    params:
        script=script("prepare_domain"),
        settings=settings("prepare_domain", "id"),
        code=code("prepare_domain"),
        listing=lambda wildcards: listing_of(STUDY.settings["data"], wildcards.domain),  # images come and go
        out=folder("prepare_domain"),
    message:
        "decode {wildcards.domain}"
    shell:
        "python {params.script:q} --domain {wildcards.domain:q} --settings {params.settings:q}"
        " --code {params.code} --threads {threads} --out {params.out:q} &> {log:q}"
