"""What the declarations of stages and exhibits say, as directives of rules."""


def outputs(stage):
    """The files of a stage's jobs: what grows is updated in place, what holds tensors must not be empty."""
    flag = update if STAGES[stage].grows else lambda path: ensure(path, non_empty=True)
    flagged = (".jsonl", ".safetensors") if STAGES[stage].grows else (".npy", ".safetensors")
    return [
        flag(path) if path.endswith(flagged) and not path.endswith(FAILED) else path for path in STAGES[stage].outputs
    ]


def logged(stage):
    """Where the words of a stage's jobs go."""
    return f"logs/{stage}/{STAGES[stage].pattern}.log"


def timed(stage):
    """Where Snakemake writes down the seconds of a stage's jobs."""
    return f"results/benchmarks/{stage}/{STAGES[stage].pattern}.tsv"


def needed(stage, **more):
    """What a stage's jobs need: of memory and time more at each attempt, so that a job which ran out of it is retried."""
    declared = STAGES[stage]
    grows = lambda amount: lambda wildcards, attempt: amount * attempt
    return {
        **({"gpu": GPU} if declared.gpu else {}),
        "mem_mb": grows(declared.memory),
        "runtime": grows(declared.minutes),
        **more,
    }


def folder(stage):
    """Params function: the job's folder."""
    return lambda wildcards: f"{STAGES[stage].root}/{STAGES[stage].pattern}".format(**wildcards)


def script(name):
    """Params function: the path of a script. One that takes `output` re-runs nothing, wherever the checkout lies."""
    return lambda wildcards, output: str(ROOT / f"workflow/scripts/{name}.py")


def plan(stage):
    """Params function: the job's plan as a file whose name carries its hash."""
    return lambda wildcards: manifest.store_plan(STUDY.plan(stage, **wildcards), stage)


def planned_inputs(stage):
    """Input function: the files that the job's plan names."""
    return lambda wildcards: STUDY.plan(stage, **wildcards).inputs()


def code(stage, *modules):
    """Fingerprint of the stage's code, and of modules that it finds by name: a changed formula counts, no comment."""
    entries = ROOT / f"workflow/scripts/{stage}.py", *modules
    store_code(PACKAGES, *entries)
    return code_of(PACKAGES, *entries)


def plain(stage):
    """The files that the exhibits of a stage have besides those in the HTML report."""
    return [
        f"{STAGES[stage].root}/{STUDY.name}/{file}" for each in catalogue.made_by(stage) for file in each.files[:-1]
    ]


def reported(stage):
    """The file of each exhibit that `snakemake --report` shows, with its caption and its chapter.

    One label only: of two, Snakemake makes a switch where values happen to be halved, and fails at a missing half.
    """
    return {
        each.name: report(
            f"{STAGES[stage].root}/{STUDY.name}/{each.files[-1]}",
            caption=manifest.store_caption(each.caption, f"{each.kind}_{each.name}"),
            category=STUDY.name,
            subcategory=each.chapter,
            labels={"result": f"{each.title} ({each.kind})"},
        )
        for each in catalogue.made_by(stage)
    }


def finished(stage):
    """What a stage's jobs write last, and what of them failed."""
    return [path for job in STUDY.jobs if job.stage.name == stage for path in job.marks]
