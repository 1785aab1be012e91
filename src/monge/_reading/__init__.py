"""Files as data: what is read is regular, of known size, within a budget of bytes, checked, and never executed."""

from __future__ import annotations

from .archives import Archive, open_archive
from .arrays import read_array
from .budget import MAX_BYTES, Budget
from .files import lines_of, open_file, read_file, refused
from .pickles import encoded_bytes, read_pickle
from .tensors import read_tensors

__all__ = [
    "MAX_BYTES",
    "Archive",
    "Budget",
    "encoded_bytes",
    "lines_of",
    "open_archive",
    "open_file",
    "read_array",
    "read_file",
    "read_pickle",
    "read_tensors",
    "refused",
]
