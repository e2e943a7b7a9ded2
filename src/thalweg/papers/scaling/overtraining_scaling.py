"""Over-training (2024): losses of long trainings and downstream errors, told by cheap runs."""

import math

import numpy as np

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.papers.scaling._overtraining_trials import cheap_runs_tell, predicted
from thalweg.scaling import DownstreamErrorLaw, OvertrainedLossLaw

# Parameters, tokens, loss on C4 and average error on 17 tasks of the models trained on RedPajama,
# from github.com/mlfoundations/scaling at a003c49 (exp_data): four at 20 tokens a parameter and
# the smallest at 320; one more for the errors; the two that are predicted.
_TESTBED = np.array(
    [
        (10569312, 211386240, 5.38702091510821, 0.8134857367566677),
        (78914048, 1578280960, 3.899942990231468, 0.7250451834543663),
        (153677376, 3073547520, 3.531147408490181, 0.6710080283365267),
        (411616256, 8232325120, 3.149769456671634, 0.6365529066499542),
        (10569312, 3382179840, 4.572292613487238, 0.7671019083970938),
        (1439795200, 28795904000, 2.768756661738063, 0.5473253052024281),
        (1439795200, 921468928000, 2.502053562117363, 0.47521523167105284),
        (6889410560, 137788211200, 2.424993099368689, 0.47163718062288623),
    ]
)
_SIZES, _LOSSES, _ERRORS = _TESTBED[:, :2], _TESTBED[:, 2], _TESTBED[:, 3]


def predictions_of_the_authors() -> None:
    """Miss the two dear runs by as much as the authors' notebook prints, on their own runs."""
    law = OvertrainedLossLaw().fit(_SIZES[:5], _LOSSES[:5])
    losses = law.predict(_SIZES[6:])
    errors = DownstreamErrorLaw().fit(_LOSSES[:6, None], _ERRORS[:6]).predict(losses[:, None])
    found = 100 * abs(np.array([*losses / _LOSSES[6:], *errors / _ERRORS[6:]]) - 1)
    np.testing.assert_allclose(found, [0.7103, 0.7320, 3.6365, 0.0464], rtol=0, atol=6e-5)


def laws_are_recovered() -> None:
    """Noiseless runs give back the law, in either of its forms, and every draw agrees with it."""
    e, a, b, alpha = 1.7, 120.0, 350.0, 0.31
    eta, rows, losses = alpha / 2, [], []
    for compute in (1e18, 1e19, 3e20):
        for m in (5, 20, 320):
            rows.append((math.sqrt(compute / (6 * m)), math.sqrt(compute * m / 6)))
            factor = a * 6**eta * m**eta + b * 6**eta * m**-eta
            losses.append(e + factor * compute**-eta)
    law = OvertrainedLossLaw(draws=3).fit(rows, losses)
    expected = [e, a, b, alpha]
    np.testing.assert_allclose(
        [law.irreducible_loss_, *law.coefficients_, law.exponent_], expected, rtol=1e-6
    )
    np.testing.assert_allclose(law.bootstrap_, np.tile(expected, (3, 1)), rtol=1e-6)
    for n, d in ((1e9, 2e10), (1e9, 6.4e11)):
        said = law.predict([(n, d), (100 * n, 100 * d)]) - e
        assert math.isclose(said[1] / said[0], 1e4**-eta, rel_tol=1e-6)

    points = np.linspace(2.2, 5.0, 7)
    law = DownstreamErrorLaw(draws=3).fit(points[:, None], 0.9 - 2.3 * np.exp(-0.8 * points))
    np.testing.assert_allclose([law.ceiling_, *law.scale_, law.rate_], [0.9, 2.3, 0.8], rtol=1e-6)
    np.testing.assert_allclose(law.bootstrap_, np.tile([0.9, 2.3, 0.8], (3, 1)), rtol=1e-6)


def intervals_retyped() -> None:
    """Each draw is the law of what the law says of each run and another run's residual."""
    for n in (5, 8):
        sizes, losses = _SIZES[:n], _LOSSES[:n]
        law = OvertrainedLossLaw(draws=6, random_state=4).fit(sizes, losses)
        said = law.predict(sizes)
        errors = (losses - said) * math.sqrt(n / (n - 4))
        rng, lines = np.random.RandomState(4), []
        for chosen, drawn in zip(rng.randint(n, size=(6, n)), law.bootstrap_, strict=True):
            again = OvertrainedLossLaw(draws=1).fit(sizes, said + errors[chosen])
            numbers = [again.irreducible_loss_, *again.coefficients_, again.exponent_]
            np.testing.assert_allclose(drawn, numbers, rtol=1e-6)
            lines.append(again.predict(sizes))
        for level in (0.95, 0.5):
            tails = [0.5 - level / 2, 0.5 + level / 2]
            found = law.predict_interval(sizes, level=level)
            np.testing.assert_allclose(found, np.quantile(lines, tails, axis=0), rtol=1e-6)
    four = [1, 3, 4, 6]  # as many runs as numbers: they are met
    exact = OvertrainedLossLaw(draws=2).fit(_SIZES[four], _LOSSES[four])
    np.testing.assert_allclose(exact.predict(_SIZES[four]), _LOSSES[four], rtol=1e-6)
    np.testing.assert_allclose(*exact.predict_interval(_SIZES[four]), rtol=1e-6)


_ZERO = "the data that scikit-learn brings holds zeros; sizes and lengths are positive"
_CHECKS = """check_fit_score_takes_y check_estimators_overwrite_params
    check_dont_overwrite_parameters
    check_estimators_fit_returns_self check_readonly_memmap_input check_n_features_in_after_fitting
    check_estimators_dtypes check_dtype_object check_pipeline_consistency check_estimators_nan_inf
    check_estimators_pickle check_f_contiguous_array_estimator check_regressors_train
    check_regressor_data_not_an_array check_regressors_no_decision_function check_supervised_y_2d
    check_regressors_int check_methods_sample_order_invariance check_methods_subset_invariance
    check_fit2d_1sample check_fit2d_1feature check_dict_unchanged check_fit_idempotent
    check_fit_check_is_fitted check_n_features_in check_fit2d_predict1d"""
_INTERVALS = {
    "draws": "the intervals alone depend on it",
    "random_state": "the intervals alone depend on it",
}

PAPER = Paper(
    id="overtraining-scaling",
    title="Language models scale reliably with over-training and on downstream tasks",
    year=2024,
    arxiv="2403.08540",
    headline="Laws fitted with 300 times less compute predict the loss of a 1.4B model trained on "
    "900B tokens, 32 times more than is compute-optimal, and of a 6.9B model within 0.7 % each; "
    "with 20 times less, their average downstream error within 3.6 % and 0.05 %.",
    provides=(OvertrainedLossLaw, DownstreamErrorLaw),
    oracles=(predictions_of_the_authors, laws_are_recovered, intervals_retyped),
    examples=(
        Example(
            OvertrainedLossLaw,
            "estimator",
            arguments={"draws": 2},
            inputs=lambda: (_SIZES, _LOSSES),
            exceptions=_INTERVALS
            | {f"it_passes_the_checks_of_scikit_learn:{name}": _ZERO for name in _CHECKS.split()},
        ),
        Example(
            DownstreamErrorLaw,
            "estimator",
            arguments={"draws": 2},
            inputs=lambda: (_LOSSES[:, None], _ERRORS),
            exceptions=_INTERVALS,
        ),
    ),
    claims=(
        MeasurementClaim(
            name="cheap-runs-tell",
            statement="A law fitted to five cheap runs, one of them over-trained, predicts the "
            "loss of a dear over-trained run and of a dear large one, and their downstream error.",
            measure=predicted,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=cheap_runs_tell,
            scaled="Perceptrons that predict the next byte of Python's library from four: fitted "
            "to 800 to 5300 parameters at 20 tokens a parameter and the smallest at 320, predicted "
            "at 7900 and 64, and at 15600 and 20, of 7 and 9 times the compute; each at the best "
            "of four learning rates. The downstream error is that of the likeliest byte in other "
            "files. The baseline is a law of compute, fitted at 20 tokens a parameter.",
        ),
    ),
    symptoms=(
        "how long should I train a model that must stay small",
        "what loss will the large run reach",
        "will a lower loss make a better model downstream",
    ),
)
