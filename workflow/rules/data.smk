rule prepare_domain:
    """Decode one domain's images once, at the backbone's input size, and write down its split."""
    output:
        images=ensure("results/data/{data_id}/{domain}/images.npy", non_empty=True),
        index="results/data/{data_id}/{domain}/index.csv",
        skipped="results/data/{data_id}/{domain}/skipped.csv",
        examples="results/data/{data_id}/{domain}/examples.safetensors",
        meta="results/data/{data_id}/{domain}/meta.json",
    log:
        "logs/prepare_domain/{data_id}/{domain}.log",
    benchmark:
        "results/benchmarks/prepare_domain/{data_id}/{domain}.tsv"
    threads: 1 if STUDY.settings["data"]["source"] == "digits" else 4  # decoding files is the work here
    resources:
        mem_mb=grows(2000),
        runtime=grows(240),
    params:
        settings=settings("prepare_domain", "data_id"),
        code=code("prepare_domain"),
        listing=lambda wildcards: listing_of(STUDY.settings["data"], wildcards.domain),  # images come and go
        out=subpath(output.meta, parent=True),
    message:
        "decode {wildcards.domain}"
    shell:
        "python workflow/scripts/prepare_domain.py --domain {wildcards.domain:q} --settings {params.settings:q}"
        " --code {params.code} --threads {threads} --out {params.out:q} &> {log:q}"
