"""Hostile files, made by hand or by combining faults: names of the faults, and contents."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = [
    "Files",
    "archives",
    "arrays",
    "in_archives",
    "journals",
    "npy",
    "packed",
    "parquet",
    "parquets",
    "pickles",
    "pictures",
    "png",
    "replaced",
    "saved",
    "tables",
    "tensors",
]

Files = Iterator[tuple[str, bytes]]

# ---------------------------------------------------------------------- NumPy


def npy(
    shape: str = "(4, 2)", descr: str = "'<f8'", order: str = "False", body: bytes = bytes(64), **other: Any
) -> bytes:
    """A file of NumPy whose header says what it is told."""
    text = (
        f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {other.get('more', '')}}}".ljust(117) + "\n"
    )
    header, version = other.get("header", text.encode("latin-1", "replace")), other.get("version", b"\1\0")
    length = other.get("length", len(header))
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", length) + header + body


SHAPES = (
    "(-4, -2)", "(-8,)", "(9223372036854775807, 2)", "(4611686018427387904, 4)", "(99999999999999999999999999, 3)",
    "(0, 1000000000000000000000)", "(8.0,)", "(True, 8)", "('a',)", "(None,)", "((2,), 4)", "[8]", "8", "()", "{}",
    "(2, 3)", "(1,) * 8", "(1, 1, 1, 1, 1, 1, 1, 1, 8)", "(" + "1, " * 80 + "8)", "(2, 2, 2)", "(0, 2)", "(8, 0)", "x",
)  # fmt: skip
DESCRIPTIONS = (
    "'|O'", "'<c16'", "'<f16'", "'|V8'", "'<M8[s]'", "'<m8[s]'", "'<U2'", "'|S8'", "'<f3'", "'f8,f8'", "'?'", "'<f2'",
    "[('a', '<f8')]", "[('a', '|O')]", "('<f8', (2,))", "8", "None", "'nonsense'",
    "__import__('os').system('touch harm')",
    "'<f8' * 10**9", "[" * 90 + "]" * 90, "'>f8'", "'<U999999999'", "'|V2147483648'",
)  # fmt: skip


def arrays() -> Files:
    """Forged files of NumPy."""
    for shape in SHAPES:
        yield f"shape {shape[:40]}", npy(shape)
    for descr in DESCRIPTIONS:
        yield f"descr {descr[:40]}", npy(descr=descr)
    for shape, descr in itertools.product(SHAPES[:8], ("'|O'", "'<U2'", "'<f2'", "'|V0'", "'<U0'")):
        yield f"{shape} {descr}", npy(shape, descr)
    for order in ("1", "None", "'C'", "True", "[]"):
        yield f"order {order}", npy(order=order, body=np.arange(8.0).tobytes())
    for version in (b"\0\0", b"\1\1", b"\2\0", b"\3\0", b"\4\0", b"\xff\xff"):
        yield f"version {version!r}", npy(version=version)
    for length in (0, 1, 10, 117, 119, 1000, 65535):
        yield f"length {length}", npy(length=length)
    for body in (0, 1, 63, 65, 128, 10**6):
        yield f"body {body}", npy(body=bytes(body))
    for number in (np.nan, np.inf, -np.inf):
        yield f"holds {number}", npy(body=np.full(8, number).tobytes())
    for cut in (0, 1, 5, 6, 7, 8, 9, 10, 60, 127, 128, 130):
        yield f"cut at {cut}", npy()[:cut]
    for header in (
        b"",
        b"\n",
        b"\xff" * 118,
        b"{}\n",
        b"{" * 118,
        b"1 / 0\n",
        b"\0" * 118,
        b"{'descr': '<f8'}\n",
        b"9" * 9000,
    ):
        yield f"header {header[:10]!r}", npy(header=header)
    yield "more", npy(more="'more': 1")
    yield "behind", npy() + npy()
    yield "pickled", b"\x80\x02cos\nsystem\nX\x0a\0\0\0touch harm\x85R."


# ---------------------------------------------------------------------- archives


def packed(members: dict[str, bytes] | list[tuple[Any, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", packing) as made:
        warnings.simplefilter("ignore")
        for name, content in members.items() if isinstance(members, dict) else members:
            made.writestr(name, content)
    return stream.getvalue()


def replaced(content: bytes, **changes: bytes | None) -> bytes:
    """A zip file with other members; dots of their names are told as two underscores, None takes one away."""
    named = {name.replace("__", "."): held for name, held in changes.items()}
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    return packed({name: held for name, held in (members | named).items() if held is not None})


def _central(content: bytes, at: int, form: str, *values: int) -> bytes:
    """Another number in the directory at the end."""
    start = content.rindex(b"PK\1\2") + at
    made = struct.pack(form, *values)
    return content[:start] + made + content[start + len(made) :]


def archives(whole: bytes, name: str) -> Files:
    """An archive with faults of the archive itself; ``name`` is a member."""
    with zipfile.ZipFile(io.BytesIO(whole)) as old:
        held = {info.filename: old.read(info) for info in old.infolist()}
    body = held[name]
    others = {key: value for key, value in held.items() if key != name}
    again = packed({**others, name: body})
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"packing {kind}", packed({**others, name: body}, kind)
    for kind in (1, 6, 9, 93, 95, 97, 98, 99, 65535):
        yield f"packing {kind}", _central(again, 10, "<H", kind)
    for flags in (1, 0x41, 0x2000, 0xFFFF, 8, 0x800):
        yield f"flags {flags}", _central(again, 8, "<H", flags)
    sizes = (0, 1, len(body) - 1, len(body) + 1, 2 * len(body), 2**31 - 1, 2**32 - 2, 2**32 - 1)
    for one, two in itertools.product(sizes, sizes):
        yield f"sizes {one} {two}", _central(again, 20, "<II", one, two)
    for crc in (0, 1, 2**32 - 1):
        yield f"crc {crc}", _central(again, 16, "<I", crc)
    for offset in (1, 7, len(again) - 30, len(again), 2**31, 2**32 - 1):
        yield f"offset {offset}", _central(again, 42, "<I", offset)
    for lengths in ((0, 0, 0), (1, 0, 0), (65535, 0, 0), (len(name), 65535, 0), (len(name), 0, 65535)):
        yield f"lengths {lengths}", _central(again, 28, "<HHH", *lengths)
    end = again.rindex(b"PK\5\6")
    for at, value in itertools.product((4, 6, 8, 10, 20), (1, 2, 65535)):
        yield f"end {at} {value}", again[: end + at] + struct.pack("<H", value) + again[end + at + 2 :]
    for at, value in itertools.product((12, 16), (0, 1, 2**31, 2**32 - 1)):
        yield f"end {at} {value}", again[: end + at] + struct.pack("<I", value) + again[end + at + 4 :]
    for cut in (0, 4, 30, len(again) // 2, end, end + 10, len(again) - 1):
        yield f"cut at {cut}", again[:cut]
    yield "behind", again + b"more"
    yield "in front", b"more" + again
    yield "twice", again + again
    link = zipfile.ZipInfo(name)
    link.external_attr = 0o120777 << 16
    yield "link", packed([*others.items(), (link, b"/etc/passwd")])
    for other in (
        "/" + name,
        "../../" + name,
        name + "\0x",
        name.upper(),
        " ",
        "x" * 60000,
        "C:\\" + name,
        name + "/",
        "\u202e.npy",
    ):
        yield f"name {other[:20]!r}", packed({**others, other: body})
        yield f"name too {other[:20]!r}", packed({**held, other: body})
    for content in (
        again,
        b"",
        b"\x1f\x8b" + body,
        zlib.compress(body),
        body[:-1],
        body + b"\0",
        b"PK\3\4",
        bytes(2**20),
    ):
        yield f"content {content[:8]!r}", packed({**others, name: content}, zipfile.ZIP_DEFLATED)
    bomb = packed({**others, name: body[:128] + bytes(2**26)}, zipfile.ZIP_DEFLATED)
    yield "bomb", bomb
    yield "bomb that is told small", _central(bomb, 24, "<I", len(body))
    yield "many", packed({**held, **{f"{k}.npy": b"" for k in range(2000)}})


def in_archives(files: Files, whole: bytes, name: str) -> Files:
    """The same files as a member of an archive."""
    for told, content in files:
        yield told, replaced(whole, **{name.replace(".", "__"): content})


# ---------------------------------------------------------------------- pickles


def saved(held: Any) -> bytes:
    """A file of torch.save."""
    stream = io.BytesIO()
    torch.save(held, stream)
    return stream.getvalue()


def _text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def laughs(depth: int, leaf: bytes = b"K\x01") -> bytes:
    """A tuple that holds one thing twice, which holds one thing twice: small, and without end for whoever walks it."""
    return leaf + b"".join(b"q%ch%c\x86" % (k, k) for k in range(depth))


FUNCTIONS = (
    "os system", "posix system", "builtins eval", "builtins exec", "builtins getattr", "builtins __import__",
    "nt system",
    "subprocess Popen", "torch load", "torch.hub load", "numpy load", "numpy.core.multiarray scalar", "codecs encode",
    "torch._utils _rebuild_tensor", "torch.storage _load_from_bytes", "collections defaultdict", "functools partial",
    "torch._utils _rebuild_parameter_with_state", "importlib import_module", "operator attrgetter",
    "copyreg _reconstructor",
    "torch.jit._script unpackage", "shutil rmtree", "__main__ x", " ", "os.system ", "collections OrderedDict.__init__",
)  # fmt: skip
NEVER = b"X\x0a\0\0\0touch harm\x85R"


def pickles() -> Files:
    """Pickles that ask for functions, trick the memo, lie about lengths, or never end; their last thing is on top."""
    for function in FUNCTIONS:
        module, _, name = function.partition(" ")
        yield f"global {function}", b"\x80\x02c" + f"{module}\n{name}\n".encode() + NEVER + b"."
        yield f"stacked {function}", b"\x80\x04" + _text(module) + _text(name) + b"\x93" + NEVER + b"."
    for kind in (
        b"i",
        b"o",
        b"\x81",
        b"\x92",
        b"b",
        b"R",
        b"u",
        b"e",
        b"s",
        b"a",
        b"d",
        b"l",
        b"t",
        b"2",
        b"0",
        b"1",
        b"Q",
    ):
        yield f"bare {kind!r}", b"\x80\x02" + kind + b"."
        yield f"on a mark {kind!r}", b"\x80\x02(" + kind + b"."
        yield f"on numbers {kind!r}", b"\x80\x02K\x01K\x02" + kind + b"."
    for code in (
        b"\x82\x01",
        b"\x83\x01\x00",
        b"\x84\x01\0\0\0",
        b"\x97",
        b"\x98",
        b"\x8f(\x90",
        b"(\x91",
        b"P1\n",
        b"K\x01Q",
    ):
        yield f"unusual {code!r}", b"\x80\x05" + code + b"."
    for code in (
        b"h\x05",
        b"j\xff\xff\xff\x7f",
        b"g99\n",
        b"q\x00",
        b"r\xff\xff\xff\x7f",
        b"p5\n",
        b"\x94",
        b"g-1\n",
        b"gx\n",
    ):
        yield f"memo {code!r}", b"\x80\x04" + code + b"."
        yield f"memo of none {code!r}", b"\x80\x04N" + code + b"."
    for code in (
        b"B",
        b"C",
        b"X",
        b"T",
        b"U",
        b"\x8c",
        b"\x8d",
        b"\x8e",
        b"\x96",
        b"\x95",
        b"\x8b",
        b"\x8a",
        b"G",
        b"M",
        b"J",
    ):
        for length in (b"\xff", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\xff" * 7 + b"\x7f", b"\xff" * 8):
            yield f"length {code!r} {len(length)} {length[-1]}", b"\x80\x04" + code + length + b"."
    for line in (
        b"I1_0",
        b"I",
        b"Ix",
        b"I9" + b"9" * 5000,
        b"Fnan",
        b"Fx",
        b"L1",
        b"S'a",
        b"Sa",
        b"V\\u",
        b"V\xff",
        b"S'\\x'",
    ):
        yield f"line {line[:8]!r}", line + b"\n."
    for version in (0, 1, 5, 6, 200, 255):
        yield f"version {version}", b"\x80%cN." % version
    yield "a number of thousands of digits", b"\x80\x02\x8b" + struct.pack("<i", 1600) + b"\x7f" * 1600 + b"."
    yield "no end", b"\x80\x02N"
    yield "two ends", b"\x80\x02N.N."
    yield "two things", b"\x80\x02NN."
    yield "nothing", b""
    yield "deep", b"\x80\x02" + b"]" * 9 + b"a" * 8 + b"."
    yield "very deep", b"\x80\x02" + b"(" * 20000 + b"t" * 20000 + b"."
    yield "itself in a list", b"\x80\x02]q\x00h\x00a."
    yield "itself in a dictionary", b"\x80\x02}q\x00K\x01h\x00s."
    yield "laughs", b"\x80\x02" + laughs(100) + b"."
    yield "laughs as a key", b"\x80\x02}" + laughs(60) + b"K\x01s."
    yield "laughs as a name", b"\x80\x04" + laughs(60) + laughs(60) + b"\x93."
    yield "a list as a key", b"\x80\x02}]K\x01s."
    yield "an odd dictionary", b"\x80\x02(K\x01d."
    yield "many marks", b"\x80\x02" + b"(" * 10**5 + b"."
    yield "many things", b"\x80\x02]" + b"]a" * 10**5 + b"."
    yield "python", b"import os\nos.system('touch harm')\n"


STORAGE = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"%stQ"
REBUILT = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(%s%s%s%s%stR."
EMPTY_HOOKS = b"\x89ccollections\nOrderedDict\n)R"


def tensors() -> Files:
    """Pickles of a tensor of nine numbers whose storage, offset, shape or strides lie."""

    def number(value: int) -> bytes:
        held = pickle.encode_long(value)
        return b"\x8b" + struct.pack("<i", len(held)) + held

    def numbers(*values: int) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def made(
        storage: bytes = STORAGE % number(9),
        offset: bytes = number(0),
        shape: bytes = numbers(3, 3),
        stride: bytes = numbers(3, 1),
        hooks: bytes = EMPTY_HOOKS,
    ) -> bytes:
        return REBUILT % (storage, offset, shape, stride, hooks)

    large = (-1, -(2**63), 2**31, 2**62, 2**63 - 1, 2**64, 10**40, 10**4000)
    for value in (*large, 0, 8, 10):
        yield f"count {str(value)[:20] if value < 10**40 else 'huge'}", made(STORAGE % number(value))
    for value in (*large, 1, 8, 9):
        yield f"offset {value if value < 10**40 else 'huge'}", made(offset=number(value))
    for value, place in itertools.product((*large, 0, 2, 4, 9), (0, 1)):
        shape, stride = [3, 3], [3, 1]
        shape[place] = stride[place] = value
        yield f"shape {place} {value if value < 10**40 else 'huge'}", made(shape=numbers(*shape))
        yield f"stride {place} {value if value < 10**40 else 'huge'}", made(stride=numbers(*stride))
    yield "repeated", made(shape=numbers(10**12, 3), stride=numbers(0, 1))
    yield "repeated far", made(shape=numbers(2**62, 2**62), stride=numbers(0, 0))
    for shape, stride in (
        ((), ()),
        ((9,), ()),
        ((), (1,)),
        ((3, 3, 1), (3, 1)),
        ((0, 3), (3, 1)),
        ((1,) * 100, (1,) * 100),
    ):
        yield f"dimensions {len(shape)} {len(stride)} {shape[:2]}", made(shape=numbers(*shape), stride=numbers(*stride))
    for dtype in (
        "LongStorage",
        "HalfStorage",
        "ByteStorage",
        "ComplexFloatStorage",
        "QInt8Storage",
        "Float8Storage",
        "Tensor",
        "load",
    ):
        yield f"dtype {dtype}", made(STORAGE.replace(b"FloatStorage", dtype.encode()) % number(9))
    for key in ("", "1", "../../etc/passwd", "0/../0", "/data/0", "\0"):
        yield f"key {key!r}", made(STORAGE.replace(_text("0"), _text(key)) % number(9))
    for thing in (
        b"N",
        b"]",
        b"}",
        b"K\x01",
        _text("x"),
        b"\x88",
        laughs(50),
        STORAGE % number(9),
        b"G" + struct.pack(">d", 3.0),
    ):
        for place in ("storage", "offset", "shape", "stride", "hooks"):
            yield f"{place} {thing[:6]!r}", made(**{place: thing})
    yield "saved here", b"\x80\x02(" + _text("storage") + b"tQ."
    yield "something else", b"\x80\x02(" + _text("module") + b"N" * 4 + b"tQ."


# ---------------------------------------------------------------------- texts


CELLS = (
    "", " ", "x", "nan", "NaN", "inf", "-inf", "1e999", "-1e400", "1_0", "0x10", "1.2.3", "--1", "+-1", "1e", "true",
    "None",
    "NULL", "#N/A", "=1+1", "1\0", "\0", "1 2", "\u0664", "\uff11", "1\u00a0", "'1'", '"', '"1', '1"', '""',
    "1\ufeff", "#", "1j",
    "x" * 70000, "9" * 5000, "\u2028", "-", ".", "e5", "1d5", "٣.٥", "1,5;2",
)  # fmt: skip


def tables() -> Files:
    """Tables of three rows and three columns with one wrong cell, or wrong as a whole."""
    for cell, separator, place in itertools.product(CELLS, ",;\t", (4, 8)):
        if separator in cell:
            continue
        cells = [str(k) for k in range(9)]
        cells[place] = cell
        text = "\n".join(separator.join(cells[k : k + 3]) for k in (0, 3, 6)) + "\n"
        yield f"{cell[:9]!r} {separator!r} {place}", text.encode()
    text = "1,2\n3,4\n"
    for coding in ("utf-16", "utf-32", "utf-16-be", "cp037"):
        yield coding, text.encode(coding)
    for told in (
        "\n1,2\n",
        "1,2\n\n3,4\n",
        "1,2\n3\n",
        "1,2\n3,4,5\n",
        "1;2\n3,4\n",
        "a,b\n",
        "a,1\n",
        ",\n",
        "\n" * 9,
        "\r" * 9,
        "1,2\r3,4x\r",
    ):
        yield f"rows {told!r}", told.encode()
    for told in (
        b"\xff\xfe",
        b"1,2\n3,\xe9\n",
        b"\x1f\x8b\x08",
        b"PK\3\4",
        b"%PDF",
        b"\0" * 99,
        b"1," * 10**5,
        b'"' * 10**5,
    ):
        yield f"bytes {told[:8]!r}", told


LINES = (
    b"", b"{}", b"[]", b"null", b"1", b'"x"', b"nan", b"{", b"}", b'{"step": 1}', b'{"part": "train"}',
    b'{"step": "1", "part": "train"}',
    b'{"step": 1.0, "part": "train"}', b'{"step": true, "part": "train"}', b'{"step": null, "part": "train"}',
    b'{"step": 1, "part": 1}',
    b'{"step": 1, "part": null}', b'{"step": 1, "part": ["train"]}', b"{'step': 1, 'part': 'train'}",
    b'{"step": 1, "part": "train",}',
    b'{"step": 1, "part": "train"} {"step": 2, "part": "train"}', b'{"step": 1e0, "part": "train"}',
    b'{"step": ' + b"9" * 5000 + b', "part": "t"}',
    b"\xff", b"\xc3(", b'{"step": 1, "part": "\xff"}', b'{"step": 1, "part": "\xed\xa0\x80"}', b"\0", b"[" * 5000,
    b'{"a":' * 5000,
    b'{"step": 1, "part": "train", "x": }', b"import os", b"<xml/>", b"step,part", b"\x80\x02N.",
    b'{"step": 01, "part": "train"}', b"\x1f\x8b",
)  # fmt: skip


def journals() -> Files:
    """Journals of three lines, one of which is none."""
    right = [json.dumps({"step": k, "part": "train", "loss": 1.5}).encode() for k in (1, 2, 3)]
    for line, place, end in itertools.product(LINES, (0, 1), (b"\n", b"\r\n")):
        lines = list(right)
        lines[place] = line
        yield f"{line[:20]!r} {place} {end!r}", end.join(lines) + end


# ---------------------------------------------------------------------- Parquet


def _varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made, number = made + bytes([number & 127 | 128]), number >> 7
    return made + bytes([number])


def _thrift(fields: dict[int, Any]) -> bytes:
    """A structure of Thrift in its compact form: numbers are wide, but for those in a pair with a type of their own."""
    made, before = b"", 0
    for number, value in fields.items():
        if isinstance(value, int):
            kind, body = 6, _varint((value << 1 ^ value >> 63) & 2**64 - 1)
        elif isinstance(value, bytes):
            kind, body = 8, _varint(len(value)) + value
        elif isinstance(value, dict):
            kind, body = 12, _thrift(value)
        elif isinstance(value, tuple):  # a small number
            kind, body = 5, _varint((value[0] << 1 ^ value[0] >> 63) & 2**64 - 1)
        else:
            of, parts = (
                (12, map(_thrift, value))
                if value and isinstance(value[0], dict)
                else (8, (_varint(len(v)) + v for v in value))
            )
            if value and isinstance(value[0], tuple):
                of, parts = 5, (_varint(v[0] << 1) for v in value)
            kind, body = (
                9,
                (bytes([len(value) << 4 | of]) if len(value) < 15 else bytes([0xF0 | of]) + _varint(len(value)))
                + b"".join(parts),
            )
        made += bytes([(number - before) << 4 | kind]) + body
        before = number
    return made + b"\0"


def parquet(count: int = 4, **lies: Any) -> bytes:
    """A column x of ``count`` numbers in a Parquet file, and what it says otherwise."""
    body = lies.get("body", np.arange(float(count)).tobytes())
    packing = lies.get("packing", 0)
    page = zlib.compress(body) if packing == 2 else body
    values = lies.get("values", count)
    header = _thrift({
        1: (0,), 2: (lies.get("unpacked", len(body)),), 3: (lies.get("packed", len(page)),),
        5: {1: (values,), 2: (lies.get("coding", 0),), 3: (3,), 4: (3,)},
    })  # fmt: skip
    words = b""
    if "words" in lies:
        held = np.arange(4.0).tobytes()
        words = (
            _thrift({1: (2,), 2: (lies.get("words_unpacked", 32),), 3: (32,), 7: {1: (lies["words"],), 2: (0,)}}) + held
        )
    chunk = words + (lies.get("garbage") or header + page)
    kind, at = lies.get("kind", 5), 4 + len(words)
    column = {
        1: (kind,), 2: [(0,), (3,)], 3: [b"x"], 4: (packing,), 5: lies.get("column_values", count),
        6: lies.get("told_size", len(chunk)),
        7: lies.get("chunk_size", len(chunk)), 9: lies.get("page_at", at),
        **({11: lies.get("words_at", 4)} if words else {}),
    }  # fmt: skip
    repetition = lies.get("repetition", 0)
    schema = [{4: b"root", 5: (lies.get("children", 1),)}, {1: (kind,), 3: (repetition,), 4: b"x"}]
    group = {
        1: [{2: 4, 3: column}] * lies.get("columns", 1),
        2: lies.get("told_size", len(chunk)),
        3: lies.get("group_rows", count),
    }
    footer = _thrift({1: (1,), 2: schema, 3: lies.get("rows", count), 4: [group] * lies.get("groups", 1)})
    return b"PAR1" + chunk + footer + struct.pack("<I", lies.get("footer", len(footer))) + lies.get("end", b"PAR1")


def parquets() -> Files:
    """Files whose metadata, or headers of pages, lie about how much there is."""
    huge = (-1, -(2**31), 0, 1, 3, 5, 8, 2**20, 2**24, 2**31 - 1)
    for name in (
        "rows",
        "group_rows",
        "column_values",
        "values",
        "unpacked",
        "packed",
        "told_size",
        "chunk_size",
        "page_at",
        "footer",
    ):
        for value in huge:
            if name != "footer" or value >= 0:
                yield f"{name} {value}", parquet(**{name: value})
                yield f"deflated {name} {value}", parquet(packing=2, **{name: value})
    for value in (*huge, 4):
        yield f"words {value}", parquet(words=value)
        yield f"coded words {value}", parquet(words=value, coding=8)
        yield f"words unpacked {value}", parquet(words=4, words_unpacked=value)
        yield f"words at {value}", parquet(words=4, words_at=value)
    for value in (2**20, 2**24, 2**30, 2**31 - 1):
        everywhere = dict.fromkeys(("rows", "group_rows", "column_values", "values"), value)
        yield f"everywhere {value}", parquet(**everywhere)
        yield f"everywhere, of nothing {value}", parquet(**everywhere, body=b"")
        yield f"repeated {value}", parquet(**everywhere, words=1, coding=8, body=b"\0" + _varint(value << 1))
    for value in (0, 2, 3, 1000):
        yield f"groups {value}", parquet(groups=value)
        yield f"columns {value}", parquet(columns=value)
        yield f"children {value}", parquet(children=value)
    for value in (*range(5), 6, 7, 8, 99):
        yield f"kind {value}", parquet(kind=value)
    for value in range(1, 8):
        yield f"packing {value}", parquet(packing=value)
    for value in range(1, 11):
        yield f"coding {value}", parquet(coding=value)
    for value in (1, 2, 3):
        yield f"repetition {value}", parquet(repetition=value)
    for value in (
        b"",
        b"\0",
        b"\xff" * 40,
        b"\x15" * 40,
        b"\x1c" * 30000,
        b"\xfb\xff\xff\xff\xff\x0f\xff" * 9,
        b"\x19\xfc" + b"\xff" * 12,
    ):
        yield f"garbage {value[:4]!r} {len(value)}", parquet(garbage=value)
    yield "end", parquet(end=b"PARE")
    yield "holds nan", parquet(body=np.full(4, np.nan).tobytes())


# ---------------------------------------------------------------------- pictures


def png(side: int = 32, pixels: bytes | None = None, **lies: Any) -> bytes:
    """A picture of grey levels, and what it says otherwise."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = lies["crc"] if lies.get("wrong") == kind else zlib.crc32(kind + body)
        return (
            struct.pack(">I", lies["length"] if lies.get("longer") == kind else len(body))
            + kind
            + body
            + struct.pack(">I", crc)
        )

    rows = pixels if pixels is not None else b"".join(b"\0" + bytes([7] * side) for _ in range(side))
    form = lies.get("form", (8, 0, 0, 0, 0))
    head = struct.pack(">II5B", lies.get("width", side), lies.get("height", side), *form)
    more = b"".join(chunk(kind, body) for kind, body in lies.get("more", ()))
    made = chunk(b"IHDR", head) + more + chunk(b"IDAT", lies.get("data", zlib.compress(rows))) + chunk(b"IEND", b"")
    return lies.get("magic", b"\x89PNG\r\n\x1a\n") + made


def pictures() -> Files:
    """Files that are no pictures of the size that is expected."""
    for side in (
        (0, 32),
        (32, 0),
        (31, 32),
        (33, 33),
        (2**16, 2**16),
        (2**31 - 1, 2**31 - 1),
        (2**31, 32),
        (2**32 - 1, 2**32 - 1),
    ):
        yield f"size {side}", png(width=side[0], height=side[1])
    for bits, colour in itertools.product((0, 1, 2, 4, 8, 16, 255), (0, 1, 2, 3, 4, 6, 255)):
        yield f"form {bits} {colour}", png(form=(bits, colour, 0, 0, 0))
    for place, value in itertools.product((2, 3, 4), (1, 2, 255)):
        form = [8, 0, 0, 0, 0]
        form[place] = value
        yield f"form {form}", png(form=tuple(form))
    for kind, crc in itertools.product((b"IHDR", b"IDAT", b"IEND"), (0, 1, 2**32 - 1)):
        yield f"crc {kind!r} {crc}", png(wrong=kind, crc=crc)
    for kind, length in itertools.product((b"IHDR", b"IDAT", b"IEND"), (0, 1, 14, 2**31 - 1, 2**32 - 1)):
        yield f"length {kind!r} {length}", png(longer=kind, length=length)
    bomb = zlib.compress(bytes(2**26), 9)
    texts = (
        (b"tEXt", b"key\0" + bytes(2**20)),
        (b"zTXt", b"key\0\0" + bomb),
        (b"iTXt", b"key\0\1\0\0\0" + bomb),
        (b"iCCP", b"key\0\0" + bomb),
    )
    for more in (
        *texts,
        (b"acTL", struct.pack(">II", 2**31, 0)),
        (b"PLTE", b""),
        (b"tRNS", b"\0" * 9),
        (b"eXIf", b"\xff" * 99),
        (b"IHDR", b""),
    ):
        yield f"more {more[0]!r}", png(more=[more])
    for data in (b"", b"\0", zlib.compress(b""), zlib.compress(b"\0"), bomb, zlib.compress(b"\xff" * 1056), b"x" * 99):
        yield f"data {len(data)}", png(data=data)
    for magic in (
        b"",
        b"GIF89a",
        b"BM",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xff\xd8\xff\xe0",
        b"II*\0",
        b"RIFF\0\0\0\0WEBP",
        b"#!/bin/sh\n",
    ):
        yield f"magic {magic!r}", png(magic=magic)
    for cut in (0, 8, 16, 33, 40, 60, len(png()) - 1, len(png()) - 12):
        yield f"cut at {cut}", png()[:cut]
