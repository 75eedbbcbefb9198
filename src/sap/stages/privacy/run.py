"""What an upload tells about the images behind it, and what it costs to send: before and after pruning."""

from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score, roc_curve
from torch.nn import functional

from sap.data.store import open_store
from sap.errors import SapError
from sap.evaluate.composer import load_composer
from sap.evaluate.load import load_judge
from sap.evaluate.runner import DomainImages, Judge
from sap.factors import tensors_of
from sap.failures import sentence_of
from sap.io import seed_of
from sap.probe.inputs import alike
from sap.progress import bar
from sap.stages.privacy.plan import PrivacyPlan
from sap.train.examples import open_examples
from sap.update import Update

Row = dict[str, Any]

FALSE_POSITIVES = 0.01  # the rate at which true positives are reported

SCORE_COLUMNS = ["seed", "client", "point", "score", "auc", "auc_low", "auc_high", "tpr", "members", "non_members"]
BYTE_COLUMNS = ["seed", "client", "point", "entries", "kept", "factor_bytes", "entry_bytes", "saved"]


def privacy(plan: PrivacyPlan, device: str) -> tuple[list[Row], list[Row], list[Row]]:
    """(membership rows, upload rows, failed rows) of every client and point of a fold plan, each client pruned alone.

    Members are images that the client trained on, non-members the validation and test images of the same domains:
    equally many of every class, at most `plan.images` on each side, the same for every point and seed. All are
    judged by their true labels, because wrong labels would tell a corrupted client's members without any memory.
    Scores, higher for members, with CE the cross-entropy: `loss` = −CE of the client's model (Yeom et al. 2018,
    arXiv:1709.01604), `ratio` = CE of zero-shot − CE of the client's model, a log-likelihood ratio to the public
    backbone. A point of kind zero_shot is the control: it has no upload.
    """
    judge, trained = load_judge(plan, plan.clients, device)
    composer = load_composer(plan, trained, judge.backbone)
    scores, uploads, failed = [], [], []
    for client in bar(plan.clients, desc="clients", unit="client", mininterval=2):
        seen = cache(lambda client=client: _seen(plan, judge, client))
        for point in plan.points:
            names = {"seed": plan.seed, "client": client, "point": point.id}
            sent, update = [], None
            try:
                sides, reference = seen()
                if point.settings["kind"] != "zero_shot":
                    update = composer.prune(point.settings, client)
                    sent.append(names | upload_bytes(trained[client], update))
                losses = _losses(judge, sides, update)
                told = (("loss", -losses), ("ratio", reference - losses))
                scores += [names | {"score": score} | membership(*values) for score, values in told]
                uploads += sent
            except Exception as error:
                failed.append({"stage": "privacy", **names, "error": sentence_of(error)})
        judge.forget()
    return scores, uploads, failed


def _seen(plan: PrivacyPlan, judge: Judge, client: str) -> tuple[tuple[list[DomainImages], ...], np.ndarray]:
    """(members and non-members of a client, their losses under the frozen backbone)."""
    sides = _sides(plan, client)
    return sides, _losses(judge, sides, None)


def membership(members: np.ndarray, others: np.ndarray) -> Row:
    """How well scores (n,) of members and (m,) of others tell them apart; two or more of each.

    "auc": area under the ROC curve, 0.5 is chance; "auc_low", "auc_high": its 95 % interval, see `auc_interval`; "tpr":
    true positives at the lowest threshold whose false positive rate is at most 1 % (Carlini et al. 2022,
    arXiv:2112.03570); fewer than 100 others allow no false positive.
    """
    truth, values = np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])
    low, high = auc_interval(members, others)
    false, true, _ = roc_curve(truth, values, drop_intermediate=False)
    return {
        "auc": float(roc_auc_score(truth, values)),
        "auc_low": low,
        "auc_high": high,
        "tpr": float(true[false <= FALSE_POSITIVES].max()),
        "members": len(members),
        "non_members": len(others),
    }


def auc_interval(members: np.ndarray, others: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Normal interval of the AUC with DeLong's variance (DeLong et al. 1988; by ranks, Sun & Xu 2014), cut at 0 and 1.

    It reaches z²/min(n, m) to each side at least: where the scores separate the two groups, the variance is 0, and so
    many images of the smaller one may lie on the other side without one being among these (Wilson's bound).
    """
    n, m = len(members), len(others)
    ranks = rankdata(np.concatenate([members, others]))
    above = (ranks[:n] - rankdata(members)) / m  # share of the others below each member; ties count one half
    below = 1 - (ranks[n:] - rankdata(others)) / n  # share of the members above each of the others
    z = norm.ppf((1 + level) / 2)
    spread = float(max(z * np.sqrt(above.var(ddof=1) / n + below.var(ddof=1) / m), z**2 / min(n, m)))
    return max(0.0, float(above.mean()) - spread), min(1.0, float(above.mean()) + spread)


def upload_bytes(upload: Update, pruned: Update) -> Row:
    """What one client sends: its factors, or what pruning left of its update.

    "entries": of all dense ΔW; "kept": those that are not zero after pruning; "factor_bytes": the upload's A and B in
    float32; "entry_bytes": the pruned update as it is (ΔW, or the factors where those were pruned, or nothing was): of
    each matrix its non-zero entries in float32, and a bitmap or int32 indices, whichever is smaller, where some are
    zero; "saved": 1 − entry_bytes / factor_bytes, negative where the pruned update is larger than the factors.
    """
    factor_bytes = sum(4 * tensor.numel() for entry in upload.values() for tensor in tensors_of(entry))
    entry_bytes = sum(_sparse_bytes(tensor) for entry in pruned.values() for tensor in tensors_of(entry))
    return {
        "entries": sum(int(np.prod(upload.shape(layer))) for layer in upload),
        "kept": sum(int(pruned.dense(layer).count_nonzero()) for layer in pruned),
        "factor_bytes": factor_bytes,
        "entry_bytes": entry_bytes,
        "saved": 1 - entry_bytes / factor_bytes,
    }


def _sparse_bytes(tensor: torch.Tensor) -> int:
    kept, size = int(tensor.count_nonzero()), tensor.numel()
    return 4 * kept + (min(-(-size // 8), 4 * kept) if kept < size else 0)


def _sides(plan: PrivacyPlan, client: str) -> tuple[list[DomainImages], list[DomainImages]]:
    """(members, non-members) of one client, one DomainImages for each domain that it trained on."""
    share = plan.shares[client]
    train = open_examples(share).train
    members, others = list[DomainImages](), list[DomainImages]()
    for number, folder in enumerate(share.domains):
        store = open_store(folder)
        own, rest = train.row[train.source == number], np.flatnonzero(store.splits != "train")
        chosen = alike(
            store.labels[own], store.labels[rest], plan.images // len(share.domains), seed_of("privacy", client, number)
        )
        for side, rows in zip((members, others), (own[chosen[0]], rest[chosen[1]]), strict=True):
            if len(rows):
                side.append(DomainImages(store.images, rows, store.labels[rows]))
    if sum(len(images.rows) for images in members) < 2:
        raise SapError(
            f"privacy: client {client} needs two images or more whose classes the validation and test images of its "
            "domain have, too. Raise data.split.test, or the number of images."
        )
    return members, others


def _losses(judge: Judge, sides: tuple[list[DomainImages], ...], update: Update | None) -> np.ndarray:
    """Cross-entropy of the true labels of members and non-members, (2, n) float64."""
    return np.stack([np.concatenate([_loss(judge, images, update) for images in side]) for side in sides])


def _loss(judge: Judge, images: DomainImages, update: Update | None) -> np.ndarray:
    logits = torch.from_numpy(judge.logits(images, update)).double()
    return functional.cross_entropy(logits, torch.from_numpy(images.labels), reduction="none").numpy()
