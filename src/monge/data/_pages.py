"""The pages of a Parquet file, by the headers that stand before them: a reader allocates what these promise.

A header is a structure of Thrift in its compact form: fields with a number, a type and a value.
"""

from __future__ import annotations

from io import BufferedReader
from typing import Any

from monge.errors import InputError

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCTURE = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
# Fields of the header of a page, and the first field of what is said of its kind.
_UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_2, _VALUES = 2, 3, 5, 7, 8, 1


def unpacked_bytes(stream: BufferedReader, column: Any, itemsize: int) -> int:
    """How many bytes the pages of a column become, and the values of its dictionary.

    Args:
        stream: The file.
        column: What its metadata say of the column in one group of rows.
        itemsize: Bytes of a value.

    Raises:
        InputError: If a page promises what cannot be.
    """
    starts = column.dictionary_page_offset, column.data_page_offset
    place = min(start for start in starts if start) if any(starts) else 0
    end = place + column.total_compressed_size
    values = total = 0
    while values < column.num_values and place < end:
        stream.seek(place)
        header = _structure(stream)
        packed, unpacked = header[_PACKED], header[_UNPACKED]
        kinds = (header.get(kind, {}).get(_VALUES, 0) for kind in (_DATA, _DATA_2, _DICTIONARY))
        data, data_2, words = kinds
        if min(packed, unpacked, data, data_2, words) < 0 or stream.tell() + packed > end:
            raise InputError("a page promises more bytes than there are, or fewer than none: the file is forged")
        total += unpacked + words * itemsize
        values += data + data_2
        place = stream.tell() + packed
    return total


def _structure(stream: BufferedReader) -> dict[int, Any]:
    """The fields of a structure by their numbers."""
    fields: dict[int, Any] = {}
    number = 0
    while (head := _byte(stream)) & 15 != _STOP:
        number = number + (head >> 4) if head >> 4 else _integer(stream)
        kind = head & 15
        fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(stream, kind)
    return fields


def _value(stream: BufferedReader, kind: int) -> Any:
    """A value of a type; of what no page needs only its length is observed."""
    if kind in _INTEGERS:
        return _integer(stream)
    if kind == _STRUCTURE:
        return _structure(stream)
    if kind in (_TRUE, _FALSE, _BYTE):
        return _byte(stream)
    if kind in (_DOUBLE, _BINARY):
        stream.seek(8 if kind == _DOUBLE else _length(stream), 1)
    elif kind in (_LIST, _SET):
        head = _byte(stream)
        for _ in range(head >> 4 if head >> 4 < 15 else _length(stream)):
            _value(stream, head & 15)
    elif kind == _MAP:
        count = _length(stream)
        kinds = _byte(stream) if count else 0
        for _ in range(count):
            _value(stream, kinds >> 4)
            _value(stream, kinds & 15)
    else:
        raise InputError("the header of a page is damaged")
    return None


def _byte(stream: BufferedReader) -> int:
    held = stream.read(1)
    if not held:
        raise InputError("the file ends within the header of a page")
    return held[0]


def _length(stream: BufferedReader) -> int:
    """A number of seven bits a byte, the lowest first."""
    number = shift = 0
    while True:
        byte = _byte(stream)
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number
        if shift > 63:
            raise InputError("the header of a page is damaged")


def _integer(stream: BufferedReader) -> int:
    number = _length(stream)
    return number >> 1 ^ -(number & 1)
