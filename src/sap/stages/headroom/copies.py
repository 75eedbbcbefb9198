"""Copies among the images of a study: identical ones in two domains, near ones across splits and domains."""

import numpy as np
import pandas as pd

from sap.data.copies import pairs_apart
from sap.io import verified
from sap.report.frame import Results, locate

COLUMNS = ("split", "digest", "phash")  # of index.csv
MEANING = (
    "Copies: identical means the same decoded pixels; inside a domain they share a split. Near means an equal 64-bit "
    "perceptual hash: most re-saved or scaled copies, and plain images, which look alike."
)


def copies_notes(results: Results) -> tuple[str, ...]:
    """Sentences for the page of the headroom; none where no domain is prepared."""
    found = read_prints(results)
    if found.empty:
        return ()
    domains = "; ".join(f"{name} {near}" for name, near in near_across_splits(found).items())
    identical, near = across_domains(found)
    return (
        f"Near duplicates in different splits of one domain, pairs: {domains}.",
        f"In different domains: {identical} pairs of identical images, {near} more pairs of near duplicates.",
        MEANING,
    )


def read_prints(results: Results) -> pd.DataFrame:
    """One row per prepared image: domain, split, digest, phash.

    Domains that are not prepared, or were before there were digests, are left out.
    """
    frames = [pd.DataFrame(columns=["domain", *COLUMNS])]
    for item in results.planned("prepare_domain"):
        path = locate(results.root, f"{item['folder']}/index.csv")
        if path:
            frame = pd.read_csv(verified(path), usecols=lambda name: name in COLUMNS, dtype=str)
            frames += [frame.assign(domain=item["domain"])] if set(frame) == set(COLUMNS) else []
    return pd.concat(frames, ignore_index=True)


def near_across_splits(found: pd.DataFrame) -> dict[str, int]:
    """domain -> pairs of near duplicates in different splits."""
    return {name: pairs_apart(part["phash"], part["split"]) for name, part in found.groupby("domain", sort=False)}


def across_domains(found: pd.DataFrame) -> tuple[int, int]:
    """(identical, near and not identical) pairs of images in different domains."""
    domains = np.asarray(found["domain"])
    identical, near = (pairs_apart(np.asarray(found[name], str), domains) for name in ("digest", "phash"))
    return identical, near - identical
