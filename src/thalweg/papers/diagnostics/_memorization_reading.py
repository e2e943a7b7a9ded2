"""What memorization tells of a training: which labels are known only from having been seen."""

from torch import Tensor

from thalweg.core.instrument import Reading, Symptom
from thalweg.diagnostics import memorization_scores
from thalweg.training.batches import Arrays, part
from thalweg.training.subject import Subject, outputs_of

ROUNDS, KEEP = 40, 0.7
LONGEST, MOST = 500, 2000  # steps of a run, and samples
NOTE = 0.05  # share of the labels that are memorised for certain
LISTED, SEEDS = 40, 2**20


def passes(subject: Subject) -> float:
    """Return what the trainings cost."""
    return ROUNDS * (subject.passes * min(1.0, LONGEST / subject.steps) + subject.share(MOST))


def read_memorization(subject: Subject) -> Reading:
    """Train many times on random parts, and see what is known of samples that were left out."""
    rows = subject.rows("train", MOST)
    data = Arrays(rows.input, rows.target)

    def train(kept: Tensor, seed: int) -> Tensor:
        model = subject.train_on(part(data, kept), seed % SEEDS, longest=LONGEST)
        return outputs_of(model, rows).argmax(1).cpu()

    found = memorization_scores(
        *(train, rows.target),
        rounds=ROUNDS,
        keep=KEEP,
        store=subject.store,
        seed=subject.seed,
    )
    n, sure = len(found.scores), int((found.low > 0).sum())
    order = found.scores.argsort(descending=True, stable=True)[:LISTED].tolist()
    listed = [
        {
            "row": i if rows.index is None else int(rows.index[i]),
            "label": int(rows.target[i]),
            "memorization": float(found.scores[i]),
            "at least": float(found.low[i]),
        }
        for i in order
    ]
    charts = {"Memorization of each training sample": found.chart()}
    tables = {"Training samples that are memorized most": listed}
    if sure < NOTE * n:
        return Reading((), charts, tables)
    return Reading(
        (
            Symptom(
                "memorised-samples",
                "note",
                title=f"{sure / n:.1%} of the labels are known only because they were trained on",
                evidence=f"Of {n:,} training samples {sure} have a memorization score above 0: "
                f"over {ROUNDS} trainings on random {KEEP:.0%} of the samples they are right more "
                "often where they were trained on.",
                sure="Each with a chance of 95%; the score of a single sample is rough.",
                meaning="They are rare, hard or mislabelled. Rare ones are worth memorising: that "
                "is how a net knows the long tail of its classes.",
                remedies=("look at the rows listed", "memorization-score", "data-diet"),
            ),
        ),
        charts,
        tables,
    )
