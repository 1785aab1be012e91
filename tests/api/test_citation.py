"""Sources are read from documentation, so every method must be read well."""

from __future__ import annotations

import inspect
import re

import pytest

import monge
from monge.errors import InputError
from monge.solver import Sinkhorn, candidates

ENTRY = re.compile(r"@misc\{\w+,\n(  \w+\s+= \{.*\},\n)+\}")
FACE = [monge.barycenter, monge.barycenter_on, monge.couple, monge.divergence]


def entries(text: str) -> list[str]:
    return text.split("\n\n")


@pytest.mark.parametrize("thing", [*map(type, candidates()), *FACE], ids=lambda thing: thing.__name__)
def test_methods_name_their_sources(thing: object) -> None:
    for entry in entries(monge.citation(thing)):
        assert ENTRY.fullmatch(entry), entry
        assert "author" in entry
        assert re.search(r"year\s+= \{(19|20)\d\d\}", entry)
        assert re.search(r"title\s+= \{\{[A-Z].{8,}\}\}", entry)


def test_a_class_and_its_values_have_the_same_sources() -> None:
    assert monge.citation(Sinkhorn) == monge.citation(Sinkhorn(tol=1e-3))


def test_two_references() -> None:
    first, second = entries(monge.citation(monge.divergence))
    assert first.startswith("@misc{feydy2018interpolating,")
    assert "author        = {Feydy and others}" in first
    assert "eprint        = {1810.08278}" in first
    assert "archivePrefix = {arXiv}" in first
    assert second.startswith("@misc{sejourne2019sinkhorn,")


def test_books_keep_their_chapter() -> None:
    text = monge.citation(monge.solver.Simplex)
    assert "author        = {Ahuja and Magnanti and Orlin}" in text
    assert "title         = {{Network Flows}}" in text
    assert "note          = {chapter 11}" in text
    assert "eprint" not in text


def test_quoted_titles_and_old_preprints() -> None:
    def method() -> None:
        """Does it.

        Source: Solomon et al., "Convolutional, fast" (2015), by axes;
            Someone, An old result (arXiv math/9911234).
        """

    first, second = entries(monge.citation(method))
    assert "title         = {{Convolutional, fast}}" in first
    assert "note          = {by axes}" in first
    assert second.startswith("@misc{someone1999old,")


def test_the_library_itself() -> None:
    assert f"version       = {{{monge.__version__}}}" in monge.citation()


def test_without_a_source_the_remedy_is_named() -> None:
    with pytest.raises(InputError, match=r"Fixed names no source.*citation\(\)"):
        monge.citation(monge.Fixed)


def test_every_source_of_the_library_can_be_read() -> None:
    rooms = (monge.coupling, monge.geometry, monge.gradient, monge.problem, monge.sliced, monge.solver)
    for room in rooms:
        for name in room.__all__:
            thing = getattr(room, name)
            if (inspect.isclass(thing) or inspect.isroutine(thing)) and re.search(
                r"Source:.*\d{4}", thing.__doc__ or ""
            ):
                assert monge.citation(thing), name
