"""Greedy block coordinate descent (2017): selection rules, message passing, two metrics."""

from typing import Any

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.method import Choice, Interval
from thalweg.core.paper import Paper
from thalweg.optim import bcd, iterate_bcd
from thalweg.papers.optim import _greedy_bcd_oracles as oracles
from thalweg.papers.optim import _greedy_bcd_trials as trials
from thalweg.problems.coordinates import lattice, regression, residual
from thalweg.solving.methods import solver_method


def example(**more: Any) -> Example:
    """Return the example of the laws, with other arguments or knobs."""
    known: dict[str, Any] = {
        "inputs": lambda: regression(0, m=30, n=12),
        "residual": residual,
        "exceptions": {"throw": "decides between raising and returning, not what is found"},
    }
    return Example(bcd, "solver", **{**known, **more})


KNOBS = {
    "block_size": (5, 2),
    "partition": ("variable", "sort"),
    "select": ("gsd", "gs"),
    "update": ("bound", "lipschitz"),
    "rtol": (1e-6, 1e-2),
    "max_steps": (1_000, 3),
}
QUICK = Effort(seeds=2)
FULL = Effort(seeds=10)

PAPER = Paper(
    id="greedy-bcd",
    title="Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules, "
    "Message-Passing, Active-Set Complexity, and Superlinear Convergence",
    year=2017,
    arxiv="1712.08859",
    headline="Greedy rules that know the curvature, updates by matrices, blocks shaped as trees "
    "and two-metric projection each save many iterations on least squares, logistic and softmax "
    "regression, label propagation and problems with magnitudes.",
    provides=(bcd,),
    methods=(
        solver_method(
            "greedy-bcd",
            iterate_bcd,
            kind="coordinates",
            space={
                "block_size": Interval(1, 20, integer=True),
                "select": Choice(("gs", "gsl", "gsd")),
            },
            example=example(arguments={"max_steps": 1_000}, knobs=KNOBS),
        ),
    ),
    examples=(
        example(arguments={"select": "random", "max_steps": 1_000}, knobs={"seed": (0, 1)}),
        example(
            inputs=lambda: lattice(0, n=25),
            arguments={"update": "tree", "max_steps": 300},
            knobs={"partition": ("forest", "colours")},
        ),
    ),
    oracles=(
        oracles.steps_retyped,
        oracles.passes_are_shuffled,
        oracles.random_blocks_are_drawn,
        oracles.objectives_are_what_they_say,
        oracles.values_are_those_of_the_paper,
        oracles.forests_are_solved_exactly,
        oracles.partitions_hold_each_node_once,
        oracles.magnitudes_are_handled,
        oracles.the_best_coordinate_is_chosen,
        oracles.newton_steps_are_exact,
        oracles.drift_is_stopped,
    ),
    claims=(
        MeasurementClaim(
            "greedy-rules",
            statement="On least squares, with blocks of 5 made anew at each step and updates by "
            "matrices, rules that weigh the gradient by curvature take fewer steps than random "
            "and cyclic ones.",
            measure=trials.rules,
            smoke=QUICK,
            full=FULL,
            expect=trials.fewer(("gsd", "gsl"), ("random", "cyclic")),
            scaled="300 samples of 200 features and a ridge of 1, to a value of 1e-8, in 4000 "
            "steps at most, in place of 1000 samples of 10,000 features.",
        ),
        MeasurementClaim(
            "sorted-blocks",
            statement="With steps by Lipschitz constants, fixed blocks of features of like "
            "constants take fewer steps than blocks of neighbours.",
            measure=trials.partitions,
            smoke=QUICK,
            full=FULL,
            expect=trials.fewer(("sort",), ("order",)),
            scaled="As the claim on rules.",
        ),
        MeasurementClaim(
            "trees",
            statement="Spreading labels over a lattice by exact updates, blocks shaped as forests "
            "take fewer steps than red and black fields, and greedy forests too.",
            measure=trials.trees,
            smoke=QUICK,
            full=FULL,
            expect=trials.fewer(("forests", "greedy forests"), ("red and black",)),
            scaled="A lattice of 30 x 30 in place of 50 x 50, one node in 20 labelled.",
        ),
        MeasurementClaim(
            "two-metrics",
            statement="On least squares with magnitudes, two-metric projection takes fewer steps "
            "than proximal gradient steps along blocks of 20.",
            measure=trials.projections,
            smoke=QUICK,
            full=FULL,
            expect=trials.fewer(("two-metric projection",), ("proximal gradient",)),
            scaled="300 samples of 200 features, without the paper's bound x >= 0.",
        ),
    ),
    symptoms=(
        "coordinate descent takes thousands of passes",
        "my features differ much in scale",
        "labels are to spread over a graph",
    ),
)
