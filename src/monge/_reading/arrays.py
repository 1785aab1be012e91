"""Arrays in NumPy's format."""

from __future__ import annotations

import io
import math

import numpy as np

from ..errors import InputError

__all__ = ["read_array"]

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# NumPy takes no header that is longer than 10,000 characters.
_LONGEST_HEADER = 2**15


def read_array(held: bytearray, kinds: str = "fiub") -> np.ndarray:
    """An array in NumPy's format, in the memory that it was read to.

    Args:
        held: The content of the file, all of it: bytes behind the array are refused, since nobody knows what they are.
        kinds: The kinds of dtypes that are expected, as NumPy abbreviates them.

    Raises:
        InputError: If there is another kind of array, or its shape does not fit the number of bytes.
    """
    stream = io.BytesIO(memoryview(held)[:_LONGEST_HEADER])
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise InputError(f"it is in version {version} of the format; save plain numbers with numpy.save")
    shape, columns_first, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise InputError("it holds Python objects, which are never unpickled; save plain numbers")
    if dtype.kind not in kinds or (dtype.kind == "f" and dtype.itemsize > 8):
        raise InputError(f"it holds {dtype}, not real numbers")
    if min(shape, default=0) < 0:
        raise InputError("its header promises a negative number of entries: the file is forged")
    promised, follow = math.prod(shape) * dtype.itemsize, len(held) - stream.tell()
    if promised != follow:
        told = f"{promised} bytes" if promised < 2**64 else "more than 2**64 bytes"
        raise InputError(f"its header promises {told} but {follow} follow: the file is cut short or forged")
    return np.ndarray(shape, dtype, buffer=held, offset=stream.tell(), order="F" if columns_first else "C")
