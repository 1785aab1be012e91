"""One row of the list of papers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from monge.errors import InputError

__all__ = ["Paper"]

_ARXIV = re.compile(r"\d{4}\.\d{4,5}")


@dataclass(frozen=True)
class Paper:
    """A published method that stands somewhere, with a line for the shell that runs it.

    Args:
        key: A short name that no other paper has.
        title: The title of the publication.
        arxiv: Its number at arXiv, such as ``"2212.08049"``.
        where: The module where its parts are.
        line: What to type into a shell to see it work: seconds, no download.

    Raises:
        InputError: If ``arxiv`` is not a number of arXiv, or another field is empty.

    Example:
        >>> from monge.papers import Paper
        >>> Paper("ours", "A paper of ours", "2601.00001", "ours.method", "python -m ours.method").where
        'ours.method'
    """

    key: str
    title: str
    arxiv: str
    where: str
    line: str

    def __post_init__(self) -> None:
        empty = [name for name, text in vars(self).items() if not text.strip()]
        if empty:
            raise InputError(f"A paper needs every field, but {', '.join(empty)} is empty in {self!r}: fill it in.")
        if not _ARXIV.fullmatch(self.arxiv):
            raise InputError(f"arxiv must be a number such as '2212.08049', but is {self.arxiv!r}: see arxiv.org/list.")
