"""The laws of estimators of scikit-learn's kind."""

import copy
import inspect
import pickle
import unittest
import warnings

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils.estimator_checks import estimator_checks_generator

from tests.laws import calling
from tests.laws.calling import numbers, same, takes, untouched
from tests.laws.cases import Laws

laws = Laws("estimator", minimum=75)


def data(example):
    """Return samples and targets: the example's, or three classes, or a curve."""
    if example.inputs is not None:
        return example.inputs()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    score = X[:, 0] + X[:, 1] ** 2 + 0.1 * rng.normal(size=60)
    return X, (np.digitize(score, (0.0, 1.5)) if is_classifier(make(example)) else score)


def make(example, **changes):
    """Build an estimator whose randomness, where it has any, is fixed."""
    seeded = {"random_state": 0} if "random_state" in takes(example) else {}
    return example.object(**{**seeded, **example.arguments, **changes})


def outputs(estimator, X):
    """Return all that an estimator says of samples."""
    said = {}
    for name in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(estimator, name):
            said[name] = getattr(estimator, name)(X)
    return numbers(said)


def fitted(example, **changes):
    X, y = data(example)
    estimator = make(example, **changes).fit(X, y)
    return outputs(estimator, X)


laws(calling.misspelt_keywords_are_refused)


@laws
def it_passes_the_checks_of_scikit_learn(example, check):
    for estimator, one in estimator_checks_generator(make(example)):
        name = getattr(one, "func", one).__name__
        with check.part(f"it_passes_the_checks_of_scikit_learn:{name}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                one(estimator)
            except unittest.SkipTest:
                continue
            except Exception as error:
                raise AssertionError(f"{name} fails: {type(error).__name__}: {error}") from error
            check(True, "")


@laws
def knobs_are_live(example, check):
    calling.knobs(example, check, lambda **changes: fitted(example, **changes))


@laws
def copies_are_the_same_estimator(example, check):
    X, y = data(example)
    estimator = make(example)
    check(clone(estimator).get_params() == estimator.get_params(), "a clone differs")
    changed = make(example).set_params(**estimator.get_params())
    check(changed.get_params() == estimator.get_params(), "set_params sets something else")
    fit = estimator.fit(X, y)
    check(fit is estimator, "fit does not return the estimator")
    expected = outputs(fit, X)
    for other, how in (
        (copy.deepcopy(fit), "deepcopy"),
        (pickle.loads(pickle.dumps(fit)), "pickling"),
        (clone(fit).fit(X, y), "cloning"),
        (copy.deepcopy(fit).fit(X, y), "a second fit"),
    ):
        check(same(outputs(other, X), expected), f"after {how} it predicts something else")


@laws.where(lambda example: "random_state" in takes(example))
def the_random_state_rules(example, check):
    first = fitted(example, random_state=0)
    with check.drawing_nothing():
        again = fitted(example, random_state=0)
    check(same(again, first), "the same random_state ends elsewhere")
    drawn = fitted(example, random_state=np.random.RandomState(0))
    check(same(drawn, first), "a RandomState ends elsewhere than its seed")
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        other = fitted(example, random_state=0)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    check(same(other, first), "the random_state is ignored: the global generator has an effect")
    with check.part("random_state"):
        check(not same(fitted(example, random_state=1), first), "random_state has no effect")


@laws
def inputs_are_untouched(example, check):
    X, y = data(example)
    estimator = make(example)
    with (
        untouched(check, lambda: numbers([X, y]), "its inputs are changed"),
        untouched(check, lambda: numbers(estimator.get_params()), "fit changes its parameters"),
    ):
        estimator.fit(X, y)
        outputs(estimator, X)


@laws
def a_sample_is_predicted_by_itself(example, check):
    X, y = data(example)
    estimator = make(example).fit(X, y)
    alone = [outputs(estimator, X[i : i + 1]) for i in range(5)]
    for i, ours in enumerate(alone):
        for x, together in zip(ours, outputs(estimator, X[:5]), strict=True):
            if not isinstance(x, str):
                check.close(
                    x[0], together[i], "a prediction depends on others", rtol=1e-9, atol=1e-12
                )


@laws.where(lambda example: hasattr(example.object, "staged_predict"))
def the_last_stage_is_the_prediction(example, check):
    X, y = data(example)
    estimator = make(example).fit(X, y)
    for name in ("predict", "predict_proba", "decision_function"):
        staged = getattr(estimator, f"staged_{name}", None)
        if staged is not None:
            stages = list(staged(X))
            check(len(stages) > 1, f"staged_{name} has one stage")
            ours, expected = numbers(stages[-1]), numbers(getattr(estimator, name)(X))
            sentence = f"the last of staged_{name} is not {name}"
            check.close(ours, expected, sentence, rtol=1e-9, atol=1e-12)


@laws
def its_arguments_are_keywords(example, check):
    parameters = list(inspect.signature(example.object).parameters.values())
    check(parameters, "it has no arguments")
    for parameter in parameters[1:]:
        check(parameter.kind is parameter.KEYWORD_ONLY, f"{parameter.name} is no keyword")


test_law = laws.tests()
