"""What EL2N scores tell of a training: which labels look wrong."""

from dataclasses import replace

import altair as alt
import torch
from torch import Tensor

from thalweg.core.instrument import Reading, Symptom
from thalweg.core.seeds import derive_seed
from thalweg.data import el2n_scores
from thalweg.diagnostics._ranking import area_under_roc
from thalweg.training.batches import Arrays, Batch, part
from thalweg.training.subject import Subject

FOLDS, REPEATS = 2, 2
LONGEST, MOST = 500, 5000  # steps of a run, and samples
PLANTED = 0.05  # share of the labels that are made wrong, to see whether they are found
WRONG = 1.1  # of at most 1.41: the nets are sure of another class
ABLE = 0.9  # area under the ROC curve from which on, by convention, a test is outstanding
FAULT, NOTE = 0.05, 0.01  # share of the labels
LISTED = 40


def passes(subject: Subject) -> float:
    """Return what the runs cost."""
    return REPEATS * FOLDS * subject.passes * min(1.0, LONGEST / subject.steps)


def read_labels(subject: Subject) -> Reading:
    """Score each sample by nets that have not seen it, some labels made wrong on purpose."""
    rows = subject.rows("train", MOST)
    given = rows.target.cpu()
    n = len(given)
    total, seen = torch.zeros(n), torch.zeros(n)
    caught, areas = [], []
    for repeat in range(REPEATS):
        generator = torch.Generator().manual_seed(derive_seed("labels", subject.seed, repeat))
        fold = torch.randperm(n, generator=generator) % FOLDS
        planted = torch.rand(n, generator=generator) < PLANTED
        shift = torch.randint(1, subject.n_classes, (n,), generator=generator)
        label = torch.where(planted, (given + shift) % subject.n_classes, given)
        scores = _scores(subject, replace(rows, target=label.to(subject.device)), fold, repeat)
        areas.append(area_under_roc(scores, planted))
        caught.append(scores[planted] > WRONG)
        total += torch.where(planted, 0, scores)
        seen += ~planted
    score = torch.where(seen > 0, total / seen.clamp(min=1), 0)
    area, recall = sum(areas) / REPEATS, float(torch.cat(caught).double().mean())
    order = score.argsort(descending=True, stable=True)[: min(LISTED, n)]
    position = torch.arange(n) if rows.index is None else rows.index
    listed = [
        {"row": int(position[i]), "label": int(given[i]), "EL2N": float(score[i])}
        for i in order.tolist()
    ]
    wrong = int((score > WRONG).sum())
    charts = {"EL2N score of each training sample, by nets that have not seen it": _chart(score)}
    tables = {"Training samples whose labels look most wrong": listed}
    if not (area >= ABLE and wrong >= NOTE * n):  # also where nothing was planted: nan
        return Reading((), charts, tables)
    return Reading((_symptom(wrong, n, area, recall),), charts, tables)


def _symptom(wrong: int, n: int, area: float, recall: float) -> Symptom:
    share = wrong / n
    severe = share >= FAULT
    return Symptom(
        "wrong-labels" if severe else "hard-samples",
        "fault" if severe else "note",
        title=f"{share:.1%} of the labels look wrong"
        if severe
        else f"{share:.1%} of the samples are hard or mislabelled",
        evidence=f"{wrong} of {n:,} training samples have an EL2N score above {WRONG} (of at most "
        "1.41): nets trained on the other samples are all but sure of another class.",
        sure=f"Of labels that were made wrong on purpose ({PLANTED:.0%}, at random) {recall:.0%} "
        f"score as high; a wrong one scores higher than another in {area:.1%} of all pairs "
        "(AUROC).",
        meaning="Wrong labels cost accuracy, and are learned by heart at the end of long runs."
        if severe
        else "A few such samples are in most data; they are worth a look.",
        remedies=("look at the rows listed", "data-diet", "aldr-kl", "a shorter run"),
        explains=("overfitting", "hard-samples", "memorised-samples"),
    )


def _scores(subject: Subject, rows: Batch, fold: Tensor, repeat: int) -> Tensor:
    """Return the score of each sample by a net that was trained on the other folds."""
    data, scores = Arrays(rows.input, rows.target), torch.zeros(len(fold))
    for k in range(FOLDS):
        held, others = (part(data, at.nonzero().flatten()) for at in (fold == k, fold != k))
        model = subject.train_on(others, 1 + repeat * FOLDS + k, longest=LONGEST)
        assert isinstance(held, Arrays)
        scores[fold == k] = el2n_scores(model, (held.input, held.target)).float().cpu()
    return scores


def _chart(score: Tensor) -> alt.Chart:
    counts = torch.histc(score, 30, 0, 2**0.5).int().tolist()
    width = 2**0.5 / 30
    rows = [{"from": i * width, "to": (i + 1) * width, "samples": c} for i, c in enumerate(counts)]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin="binned", title="EL2N"),
            x2="to:Q",
            y=alt.Y("samples:Q", scale=alt.Scale(type="symlog")),
        )
        .properties(height=240)
    )
    return chart
