"""The estimators keep the contract of scikit-learn, as its own checks measure it."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import monge
from monge.adapt import ClassRegularisedMap, EntropicMap, ExactMap, UnbalancedMap

# The checks look at the interface; a few coarse steps do for the plan that converges slowly.
ESTIMATORS = [ExactMap(), EntropicMap(), UnbalancedMap(), ClassRegularisedMap(tol=0.5)]
# It asks for a setting of SciPy that must stand in the environment before the first import, and skips without it.
LEFT_OUT = {"check_array_api_input"}


def checks():
    for estimator in ESTIMATORS:
        for one, check in estimator_checks_generator(estimator):
            name = check.func.__name__
            if name not in LEFT_OUT:
                yield pytest.param(one, check, id=f"{type(estimator).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_the_checks_of_sklearn(estimator, check) -> None:
    check(estimator)


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    source = random.normal(size=(40, 2)) + 4 * labels[:, None]
    return source, labels, source[random.permutation(40)] @ np.array([[0.8, -0.6], [0.6, 0.8]]) + 1


FITTED = [ExactMap, EntropicMap, UnbalancedMap, ClassRegularisedMap]


@pytest.mark.parametrize("kind", FITTED)
def test_the_kind_and_type_of_the_data_come_back(kind, data) -> None:
    X, y, target = data
    for dtype in ("float32", "float64"):
        array = kind(target).fit_transform(X.astype(dtype), y)
        tensor = kind(torch.tensor(target)).fit_transform(torch.tensor(X.astype(dtype)), torch.tensor(y))
        assert array.dtype == dtype
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize("kind", FITTED)
def test_copies_and_pickles_give_the_same_map(kind, data) -> None:
    X, y, target = data
    fitted = kind(target, cost="euclidean").fit(X, y)
    moved = fitted.transform(X + 0.1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X + 0.1), moved)
    copied = clone(fitted)
    assert copied.cost == "euclidean"
    assert not hasattr(copied, "map_")
    np.testing.assert_array_equal(copied.fit(X, y).transform(X + 0.1), moved)


def test_a_named_target_is_drawn_from_the_given_randomness() -> None:
    X = np.random.default_rng(0).gamma(2.0, size=(300, 1))
    first = ExactMap(random_state=3).fit_transform(X)
    np.testing.assert_array_equal(first, ExactMap(random_state=3).fit_transform(X))
    assert not np.array_equal(first, ExactMap(random_state=4).fit_transform(X))
    assert abs(first.mean()) < 0.2
    assert abs(first.std() - 1) < 0.2
    one, other = (ExactMap("uniform", generator=torch.Generator().manual_seed(5)).fit_transform(X) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    with pytest.raises(monge.errors.InputError, match="Give either random_state or generator"):
        ExactMap(random_state=0, generator=torch.Generator()).fit(X)


def test_searches_and_pipelines(data) -> None:
    X, y, target = data
    scaler = StandardScaler().fit(X)
    pipeline = make_pipeline(StandardScaler(), EntropicMap(scaler.transform(target)), KNeighborsClassifier(1))
    search = GridSearchCV(pipeline, {"entropicmap__epsilon": [monge.relative(0.02), 0.5]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert list(pipeline[:2].fit(X, y).get_feature_names_out(["a", "b"])) == ["a", "b"]


def test_without_sklearn_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "import monge.adapt\n"
        "monge.adapt.solve_by_class\n"
        "try:\n"
        "    from monge.adapt import ExactMap\n"
        "except ImportError as error:\n"
        "    sys.stdout.write(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ExactMap needs scikit-learn, which is missing: pip install 'monge[embed]'."


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = monge.adapt.Nothing
    assert "ExactMap" in dir(monge.adapt)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda X, y: ExactMap("gamma").fit(X), "target='gamma' is unknown"),
        (lambda X, y: ExactMap(X[:, :1]).fit(X), "target must have the features of X, but has 1"),
        (lambda X, y: ExactMap(X, target_labels=y).fit(X), "target_labels forbid pairs of different classes"),
        (lambda X, y: ExactMap(X, target_labels=y[:3]).fit(X, y), "target_labels must hold one class for each"),
        (lambda X, y: ExactMap(X, target_labels=1 - 0 * y).fit(X, 0 * y), "no plan avoids the pairs of infinite cost"),
        (lambda X, y: ExactMap(X, method="barycentric").fit(X), "needs the potentials of an entropic plan"),
        (lambda X, y: EntropicMap(X, epsilon=-1.0).fit(X), "epsilon must"),
        (lambda X, y: UnbalancedMap(X, rho=-1.0).fit(X), "rho"),
        (lambda X, y: ClassRegularisedMap(X).fit(X), "requires y to be passed"),
        (lambda X, y: ClassRegularisedMap(X, eta=-1.0).fit(X, y), "eta must lie in"),
    ],
)
def test_errors_say_what_is_wrong(make, sentence, data) -> None:
    X, y, _ = data
    with pytest.raises(ValueError, match=sentence) as raised:
        make(X, y)
    assert isinstance(raised.value, monge.TransportError)


def test_a_plan_that_is_not_there_yet_warns(data) -> None:
    X, y, target = data
    with pytest.warns(monge.errors.ConvergenceWarning, match="The last step moved"):
        ClassRegularisedMap(target, max_iter=2).fit(X, y)
