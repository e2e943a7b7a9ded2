import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import scale

from thalweg.estimators import GBNNClassifier, GBNNRegressor

SHORT = {"total_units": 12, "max_iter": 15, "random_state": 0}


def numbers():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), scale(y)


def three_classes():
    X, y = load_wine(return_X_y=True)
    return scale(X), np.array(["red", "rose", "white"])[y]


def two_classes():
    X, y = three_classes()
    return X, y == "red"


CASES = [
    pytest.param(GBNNRegressor, numbers, id="numbers"),
    pytest.param(GBNNClassifier, two_classes, id="two classes"),
    pytest.param(GBNNClassifier, three_classes, id="three classes"),
]


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_one_step_of_all_units_is_one_network_fitted_to_the_centred_target():
    X, y = numbers()
    ours = GBNNRegressor(5, units_per_step=5, learning_rate=1.0, max_iter=12, random_state=3)
    mlp = MLPRegressor(
        hidden_layer_sizes=5,
        activation="logistic",
        solver="lbfgs",
        max_iter=12,
        tol=0.0,
        random_state=3,
    )
    mlp.fit(X, y - y.mean())
    expected = mlp.predict(X) + y.mean()
    np.testing.assert_allclose(ours.fit(X, y).predict(X), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kind", "data"), CASES)
def test_stages_units_switched_off_and_the_network_in_torch_agree(kind, data):
    X, y = data()
    model = kind(**SHORT, units_per_step=3, activation="relu").fit(X, y)
    stages = list(model.staged_predict(X))
    assert len(stages) == 4
    inputs = torch.from_numpy(X)
    for t, stage in enumerate(stages, start=1):
        if kind is GBNNRegressor:
            np.testing.assert_allclose(model.predict(X, n_units=3 * t), stage, atol=1e-12)
        else:
            assert np.array_equal(model.predict(X, n_units=3 * t), stage)
        network = model.to_torch(n_units=3 * t)
        assert network[0].out_features == 3 * t
        output = network(inputs).detach().squeeze(1).numpy()
        if kind is GBNNRegressor:
            np.testing.assert_allclose(output, stage, atol=1e-12)
        else:
            ours = model.decision_function(X, n_units=3 * t)
            np.testing.assert_allclose(output, ours, atol=1e-12)
    assert len(np.unique(model.predict(X, n_units=0))) == 1


@pytest.mark.parametrize("data", [two_classes, three_classes])
def test_probabilities_belong_to_the_classes_and_stages(data):
    X, y = data()
    model = GBNNClassifier(**SHORT).fit(X, y)
    stages = list(model.staged_predict_proba(X))
    np.testing.assert_allclose(stages[4], model.predict_proba(X, n_units=5), atol=1e-12)
    np.testing.assert_allclose(stages[-1].sum(1), 1)
    assert np.array_equal(model.classes_[stages[-1].argmax(1)], model.predict(X))
    assert (model.predict(X) == y).mean() > 0.95
    shares = [(y == label).mean() for label in model.classes_]
    start = shares if data is two_classes else [1 / 3] * 3
    np.testing.assert_allclose(model.predict_proba(X[:1], n_units=0)[0], start)


@pytest.mark.parametrize("data", [numbers, three_classes])
def test_the_loss_on_the_training_data_falls_at_every_step(data):
    X, y = data()
    kind = GBNNRegressor if data is numbers else GBNNClassifier
    model = kind(10, learning_rate=0.5, random_state=0).fit(X, y)
    if data is numbers:
        losses = [((y - stage) ** 2).mean() for stage in model.staged_predict(X)]
    else:
        index = np.unique(y, return_inverse=True)[1]
        rows = np.arange(len(y))
        losses = [-np.log(p[rows, index]).mean() for p in model.staged_predict_proba(X)]
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize(("kind", "data"), CASES)
def test_weights_repeat_rows_whose_order_does_not_matter(kind, data):
    X, y = data()
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, len(X))
    rows = rng.permutation(np.repeat(np.arange(len(X)), weight))
    weighted = kind(**SHORT, subsample=0.6).fit(X, y, weight)
    repeated = clone(weighted).fit(X[rows], y[rows])
    for name in ("hidden_coef_", "output_coef_", "output_intercepts_", "steps_"):
        assert np.array_equal(getattr(weighted, name), getattr(repeated, name))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"total_units": 10, "units_per_step": 3}, "a positive multiple of units_per_step = 3"),
        ({"total_units": 0}, "total_units must be a positive multiple"),
        ({"units_per_step": 0}, "units_per_step must be at least 1, not 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, not 0.0"),
        ({"subsample": 1.5}, r"subsample must be in \(0, 1\], not 1.5"),
        ({"activation": "swish"}, "activation must be one of logistic, tanh, relu, not 'swish'"),
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        GBNNRegressor(**arguments).fit(*numbers())


def test_impossible_requests_are_refused():
    X, y = three_classes()
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        GBNNRegressor(1, max_iter=1).fit(*numbers(), -np.ones(442))
    with pytest.raises(ValueError, match="Unknown label type"):
        GBNNClassifier(1, max_iter=1).fit(*numbers())
    model = GBNNClassifier(**SHORT, units_per_step=2).fit(X, y)
    for n_units in (3, -2, 14):
        with pytest.raises(ValueError, match="a multiple of units_per_step = 2 between 0 and 12"):
            model.predict(X, n_units=n_units)
    with pytest.raises(ValueError, match="y holds one class alone, red: give two"):
        model.fit(X, np.full(len(X), "red"))
    with pytest.raises(ValueError, match="expecting 13 features"):
        model.fit(X, y).predict(X[:, 1:])
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
