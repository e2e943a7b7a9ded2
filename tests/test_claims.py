"""Every claim of the catalogue at its smoke size: it runs, and what it says makes sense."""

import math
from typing import get_args

import pytest

from thalweg.bench.claims import read_claims, run_claim
from thalweg.bench.listing import BEGIN, END, rows, tally
from thalweg.bench.statistics import can_reach_significance
from thalweg.core.catalogue import catalogue
from thalweg.core.claim import RaceClaim, Verdict

PAPERS = catalogue().papers
CLAIMS = [
    pytest.param(paper, claim, id=f"{paper.id}-{claim.name}")
    for paper in PAPERS.values()
    for claim in paper.claims
]


@pytest.mark.parametrize(("paper", "claim"), CLAIMS)
@pytest.mark.usefixtures("inline")
def test_smoke(paper, claim, tmp_path):
    outcome = run_claim(paper, claim, size="smoke", jobs=1, store=tmp_path / "runs.sqlite3")
    assert outcome.error is None
    finding = outcome.finding
    assert finding.verdict in get_args(Verdict)
    assert finding.sentence.endswith(".")
    assert finding.numbers
    for number in finding.numbers:
        assert number.what
        assert math.isfinite(number.ours)
        if number.interval:
            low, high = number.interval
            assert low <= number.ours <= high


@pytest.mark.parametrize(("paper", "claim"), CLAIMS)
def test_the_full_size_can_tell(paper, claim):
    assert claim.statement.endswith(".")
    if isinstance(claim, RaceClaim):
        assert can_reach_significance(claim.full.seeds, len(claim.methods) - 1)
        tunable = any(catalogue().recipe(text).space for text in claim.methods)
        assert claim.full.trials > 0 or not tunable, "both sides must be tuned"


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_names_of_a_papers_claims_differ(paper):
    names = [claim.name for claim in paper.claims]
    assert len(set(names)) == len(names)


def test_what_is_stored_belongs_to_a_claim(pytestconfig):
    for id, claims in read_claims(pytestconfig.rootpath / "docs/claims").items():
        assert id in PAPERS, f"docs/claims/{id}.json is of no paper"
        assert set(claims) <= {claim.name for claim in PAPERS[id].claims}
        assert {claim["size"] for claim in claims.values()} == {"full"}
        for claim in PAPERS[id].claims:
            if claim.name in claims:
                assert as_stated(claim).items() <= claims[claim.name].items()


def as_stated(claim):
    """What a stored verdict shares with the claim it was measured for, as that stands now."""
    stated = {
        "statement": claim.statement,
        "scaled": claim.scaled,
        "seeds": claim.full.seeds,
        "trials": claim.full.trials,
    }
    return stated | ({"methods": list(claim.methods)} if isinstance(claim, RaceClaim) else {})


def test_the_readme_shows_what_is_stored(pytestconfig):
    text = (pytestconfig.rootpath / "README.md").read_text()
    shown = text.partition(BEGIN)[2].partition(END)[0].strip()
    stored = read_claims(pytestconfig.rootpath / "docs/claims")
    assert shown == tally(rows(catalogue(), stored)), (
        "the README is behind docs/claims; run: thalweg claims table --update README.md"
    )
