"""All distances between 150 documents, each a cloud of at most 20 weighted words, against a loop over POT."""

from __future__ import annotations

import inspect
from importlib import import_module
from itertools import combinations
from typing import Any

import numpy as np

import monge

PEER = "POT"


def data() -> dict[str, Any]:
    """Help texts of SciPy about six topics; the vectors of the words come from the texts."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    texts, labels = [], []
    for label, topic in enumerate(("stats", "signal", "linalg", "ndimage", "special", "optimize")):
        for _, thing in sorted(vars(import_module(f"scipy.{topic}")).items()):
            text = (inspect.getdoc(thing) or "").split("References\n")[0].split("Examples\n")[0]
            if inspect.isroutine(thing) and len(text) > 500:
                texts.append(text)
                labels.append(label)
    counted = TfidfVectorizer(stop_words="english", token_pattern="[a-z]{3,}", min_df=3, max_df=0.3)
    weights = counted.fit_transform(texts)
    vectors = normalize(TruncatedSVD(20, random_state=0).fit_transform(weights.T))
    random, labels = np.random.default_rng(0), np.array(labels)
    chosen = np.concatenate([random.choice(np.flatnonzero(labels == label), 25, replace=False) for label in range(6)])
    documents = []
    for row in (weights[[k]] for k in chosen):
        heaviest = row.data.argsort()[-20:]
        documents.append((vectors[row.indices[heaviest]], row.data[heaviest] / row.data[heaviest].sum()))
    return {"documents": documents, "labels": labels[chosen]}


def ours(data: dict[str, Any]) -> np.ndarray:
    """One call."""
    return monge.pairwise(data["documents"], p=1.0)


def theirs(data: dict[str, Any]) -> np.ndarray:
    """One problem after the other."""
    import ot

    documents = data["documents"]
    distances = np.zeros((len(documents), len(documents)))
    for i, j in combinations(range(len(documents)), 2):
        (x, a), (y, b) = documents[i], documents[j]
        distances[i, j] = distances[j, i] = ot.emd2(a, b, ot.dist(x, y, metric="euclidean"))
    return distances


def accuracy(data: dict[str, Any], distances: np.ndarray) -> dict[str, float]:
    """Topics that five nearest neighbours find, and the sum of all distances."""
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = KNeighborsClassifier(5, metric="precomputed")
    right = cross_val_score(neighbours, distances, data["labels"], cv=5).mean()
    return {"topics right": float(right), "mean distance": float(distances.mean())}
