"""One page for a paper's appendix: setting, methods, headline numbers with intervals, verdicts, ledger, limits."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from sap.escape import markdown
from sap.findings.claim_points import NotTestable, sap_point, unpruned_mean
from sap.findings.claims import claims_frame
from sap.findings.failed import failed_frame
from sap.findings.ledger import ledger_frame
from sap.report.effects import accuracy, difference
from sap.report.exhibit import page
from sap.report.frame import Results
from sap.report.table import MISSING, effect_columns, interval, is_missing, points_of, sample
from sap.report.write import markdown_row
from sap.stages.headroom.exhibits import BETWEEN_MERGES, bed_sentence, headroom_frame

LIMITS = (
    "Domains are fixed: intervals are over anchor draws, training seeds and test images, not over data sets. "
    "Another data set or backbone can answer otherwise.",
    "Settings are fixed beforehand unless a row says how they were selected; whatever was chosen on the target is a "
    "ceiling and no result.",
    "The server sees every client's own update: pruning and robust rules are incompatible with secure aggregation.",
)


@page("summary", "A summary: setting, headline numbers, verdicts, limits", "1 Claims")
def summary_page(results: Results) -> str:
    """The study on one page, as a paper's appendix would have it: setting, headline numbers with 95 % intervals, the
    verdict on each claim, what the methods use, limits. `summary.md` among the tables in `results/` is the same text to
    paste; every number stands in one of the other tables with its rows."""
    title = f"# {results.plan.experiment}: summary"
    parts = [_setting(results), _numbers(results), _verdicts(results), _ledger(results), _limits()]
    return "\n\n".join([title, *parts]) + "\n"


def _setting(results: Results) -> str:
    plan = results.plan
    clients = len(results.client_domains)
    draws = results.points["anchor_draw"].dropna().nunique() or 1
    lines = [
        "## Setting",
        "",
        f"- data: {plan.dataset}, {len(plan.classes)} classes, domains {_names(results.domains)}; held out "
        f"in turn: {_names(results.targets)} (test images: {markdown(_counts(results))})",
        f"- {clients} clients, one upload each, LoRA on the visual tower of a frozen CLIP "
        f"(`{Path(plan.backbone).name}`); the server never sees their images",
        f"- seeds: {len(results.seeds)} trainings × {draws} anchor draws of {plan.anchors} public pairs",
    ]
    failed = failed_frame(results)
    if len(failed):
        lines.append(
            f"- failed: {len(results.failures)} rows of {failed['what'].nunique()} methods or clients could not be "
            "computed (`failed.md`); what builds on them is missing"
        )
    rooms = headroom_frame(results)
    if len(rooms):
        last = rooms.iloc[-1]
        lines.append(f"- headroom: {markdown(last['sentence'])} {BETWEEN_MERGES}")
        lines.append(f"- bed: {markdown(bed_sentence(last))}")
    return "\n".join(lines)


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(markdown, names))


def _counts(results: Results) -> str:
    known = results.test_images
    return ", ".join(f"{target} {known[target]}" for target in results.targets if target in known) or MISSING


def _numbers(results: Results) -> str:
    """Accuracy, and the change to zero-shot, of what a reader asks for first."""
    start = next(iter(results.of_kind("zero_shot")), None)
    rows: list[tuple[str, str | None]] = [("zero-shot", start)]
    for find in (unpruned_mean, sap_point):
        try:
            found = find(results)
        except NotTestable:
            continue
        rows.append((results.points.loc[found, "label"], found))
    rows += [
        (results.points.loc[point, "label"], point) for kind in ("pooled", "oracle") for point in results.of_kind(kind)
    ]
    lines = ["## Headline numbers", "", "| method | accuracy, % | Δ to zero-shot, points | n |", "|---|--:|--:|--:|"]
    for label, point in rows:
        level, change = accuracy(results, point), difference(results, point, start)
        shown = interval("level", sign="")(effect_columns("level", level))
        delta = "–" if point == start else interval("change")(effect_columns("change", change))
        lines.append(markdown_row([label, shown, delta, sample(level._asdict())]))
    note = "Mean over the held-out domains, 95 % intervals over draws × seeds × test images; all methods: `main.md`."
    return "\n".join([*lines, "", note])


def _verdicts(results: Results) -> str:
    frame = claims_frame(results)
    lines = ["## Claims", "", "| claim | verdict | effect, points | smallest detectable | n |", "|---|---|---|--:|--:|"]
    for _, parts in frame.groupby("claim", sort=False):
        first = parts.iloc[0]
        effects = "; ".join(
            f"{row['part']}: {interval('effect')(row)}" for _, row in parts.iterrows() if not is_missing(row["part"])
        )
        weakest = parts.loc[parts["detectable"].fillna(-1).idxmax()]
        shown = "–" if is_missing(weakest["detectable"]) else f"{100 * weakest['detectable']:.1f}"
        says = markdown(f"{first['claim']}: {first['says']}")
        why = f" ({markdown(first['why'])})" if first["why"] else ""
        rest = markdown_row([effects or "–", shown, sample(weakest)])
        lines.append(f"| {says} | **{first['verdict']}**{why} {rest}")
    note = (
        "Rules fixed before the numbers (`sap.stats.verdict`): supported where Holm's p over the claims is under 0.05, "
        f"refuted where the interval excludes every effect of {points_of(results.plan.margin)} or "
        "more, underpowered else. Smallest detectable and n: of the claim's part that is hardest to see. All parts "
        "with their tests: `claims.md`."
    )
    return "\n".join([*lines, "", note])


def _ledger(results: Results) -> str:
    frame = ledger_frame(results)
    lines = ["## What the methods use", ""]
    used: dict[str, list[str]] = {}
    for _, row in frame.iterrows():
        used.setdefault(_uses(row), []).append(row["method"])
    return "\n".join([*lines, *(f"- {what}: {_listed(methods)}" for what, methods in used.items())])


def _uses(row: pd.Series) -> str:
    """`adapters (0.1 MB each), anchor gradients on 32 public pairs`."""
    adapter = (
        "adapters" if is_missing(row["adapter_bytes"]) else f"adapters ({1e-6 * row['adapter_bytes']:.2g} MB each)"
    )
    more = [row["reads"], row["statistics"]] + ([f"{row['anchors']} public anchors"] if row["anchors"] != 0 else [])
    return ", ".join([adapter, *filter(None, more)])


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(map(markdown, names[:most])) + more


def _limits() -> str:
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in LIMITS)])
