"""
Compare documents
=================

A document is a cloud of words: every word is a point, given by its vector, and has a weight. The task is to compute
the distances between all documents, and to find nearest neighbours, clusters and a map with them. The documents are
150 help texts of SciPy about six topics.
"""

import inspect
from importlib import import_module

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

import monge

topics = ["stats", "signal", "linalg", "ndimage", "special", "optimize"]
names, texts, labels = [], [], []
for label, topic in enumerate(topics):
    for name, thing in sorted(vars(import_module(f"scipy.{topic}")).items()):
        text = (inspect.getdoc(thing) or "").split("References\n")[0].split("Examples\n")[0]
        if inspect.isroutine(thing) and len(text) > 500:
            names, texts, labels = [*names, name], [*texts, text], [*labels, label]
labels = np.array(labels)

# %%
# Vectors of words come from somewhere: from a language model, or, as here, from the texts themselves. Two words are
# near each other if they occur in the same texts. A document keeps its 20 heaviest words.

counted = TfidfVectorizer(stop_words="english", token_pattern="[a-z]{3,}", min_df=3, max_df=0.3)
weights = counted.fit_transform(texts)
vectors = normalize(TruncatedSVD(20, random_state=0).fit_transform(weights.T))

random = np.random.default_rng(0)
chosen = np.concatenate([random.choice(np.flatnonzero(labels == label), 25, replace=False) for label in range(6)])
documents = []
for row in (weights[[k]] for k in chosen):
    heaviest = row.data.argsort()[-20:]
    documents.append((vectors[row.indices[heaviest]], row.data[heaviest] / row.data[heaviest].sum()))

# %%
# This is the recipe. A document is a pair of points and weights, and documents may have different numbers of words.

from sklearn.cluster import SpectralClustering
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier

distances = monge.pairwise(documents, p=1.0)

neighbours = KNeighborsClassifier(5, metric="precomputed").fit(distances, labels[chosen])
grouping = SpectralClustering(6, affinity="precomputed_nearest_neighbors", n_neighbors=10, random_state=0)
clusters = grouping.fit_predict(distances)
places = TSNE(metric="precomputed", init="random", perplexity=20, random_state=0).fit_transform(distances)

# %%
# On the map, the colour is the topic, and the shape is the cluster. Some documents have their names.

from matplotlib import pyplot

colours = ["#2a6f97", "#e5594a", "#edb93f", "#52a675", "#8d5fa8", "#22223b"]
figure, panel = pyplot.subplots(figsize=(11, 7.5), layout="constrained")
for label, topic in enumerate(topics):
    for cluster, shape in enumerate("os^Dv*"):
        own = (labels[chosen] == label) & (clusters == cluster)
        panel.scatter(*places[own].T, s=46, marker=shape, color=colours[label], alpha=0.85, linewidths=0)
    panel.scatter([], [], color=colours[label], label=topic)
for k in range(3, len(chosen), 6):
    panel.annotate(names[chosen[k]], places[k], (4, 4), textcoords="offset points", fontsize=7.5, color="#444455")
panel.legend(frameon=False, ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.05))
panel.axis("off")

# %%
# Five nearest neighbours tell the topic of a document that they do not contain. The same classifier is shown with the
# cosine distance of the word counts, which knows no vectors.

from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score

right = cross_val_score(neighbours, distances, labels[chosen], cv=5).mean()
cosine = cross_val_score(KNeighborsClassifier(5, metric="cosine"), weights[chosen], labels[chosen], cv=5).mean()
print(f"topics that are right: {right:.2f}, with the cosine distance of counts {cosine:.2f}")
print(f"agreement of clusters and topics (adjusted Rand index): {adjusted_rand_score(labels[chosen], clusters):.2f}")
nearest = distances[30].argsort()[1:4]
print(f"nearest to {names[chosen[30]]}:", ", ".join(names[chosen[k]] for k in nearest))

# %%
# The same task with POT
# ----------------------
#
# POT compares two documents at a time. Both libraries find the same distances up to rounding; the table has the time
# for all pairs, the share of topics that five neighbours find, and the mean of all distances.
#
# .. literalinclude:: ../../benchmarks/recipes/distances_between_documents.py
#    :pyobject: theirs
#
# .. include:: ../generated/recipe-distances_between_documents.rst
#
# What can go wrong
# -----------------
#
# A document that has no word with a vector has no mass, and is refused: leave it out. The time grows with the cube of
# the number of words, so keep the heaviest words, or take ``epsilon=`` for long texts. The share of topics above has a
# standard error of about 0.02, so that a difference of 0.01 says nothing. For thousands of documents the matrix of
# distances is large: see :func:`monge.pairwise` about two lists, memory and progress, and
# :func:`monge.sliced.pairwise_sliced_wasserstein` for a faster distance.
