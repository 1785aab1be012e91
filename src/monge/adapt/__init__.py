"""Domain adaptation: scikit-learn estimators that move one data set onto another, and plans that keep classes apart.

The estimators need scikit-learn, which comes with ``pip install 'monge[embed]'``. It is imported when the first of them
is asked for. `solve_by_class` needs torch only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .class_regularised import ClassSolution, solve_by_class

if TYPE_CHECKING:
    from .class_regularised_map import ClassRegularisedMap
    from .entropic_map import EntropicMap
    from .exact_map import ExactMap
    from .unbalanced_map import UnbalancedMap

__all__ = [
    "ClassRegularisedMap",
    "ClassSolution",
    "EntropicMap",
    "ExactMap",
    "UnbalancedMap",
    "solve_by_class",
]

# Each estimator and the file that defines it.
_ESTIMATORS = {
    "ClassRegularisedMap": "class_regularised_map",
    "EntropicMap": "entropic_map",
    "ExactMap": "exact_map",
    "UnbalancedMap": "unbalanced_map",
}


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        importlib.import_module("sklearn")
    except ImportError as error:
        raise ImportError(f"{name} needs scikit-learn, which is missing: pip install 'monge[embed]'.") from error
    return getattr(importlib.import_module(f".{_ESTIMATORS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ESTIMATORS})
