"""The reader of safetensors files in csrc/io, under sanitizers: right files, wrong ones, and random ones."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SOURCES = [
    "tests/io/read_safetensors.cpp",
    "csrc/io/json_reader.cpp",
    "csrc/io/json_writer.cpp",
    "csrc/io/safetensors_reader.cpp",
    "csrc/algo/tensor.cpp",
    "csrc/ops/buffer.cpp",
    "csrc/backends/cpu/huge_pages.cpp",
    "csrc/backends/no_cuda/buffer.cpp",
]
NAMES = {torch.float32: "float32", torch.float64: "float64", torch.int64: "int64", torch.uint8: "uint8"}

Read = Callable[[list[bytes]], list[str]]


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> Read:
    """Give files to the reader, built with the address and undefined-behaviour sanitizers."""
    folder = tmp_path_factory.mktemp("reader")
    flags = ["-std=c++20", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    includes = [f"-I{ROOT / 'csrc' / 'include'}", f"-I{ROOT / 'csrc'}"]
    compiler = os.environ.get("CXX", "c++")
    build = [compiler, *flags, *includes, *(ROOT / source for source in SOURCES), "-o", folder / "read"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def call(contents: list[bytes]) -> list[str]:
        paths = [folder / f"{number}.safetensors" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        done = subprocess.run([folder / "read", *paths], capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        lines = done.stdout.decode(errors="replace").splitlines()
        assert len(lines) == len(contents)
        return lines

    return call


def packed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape=(2,), offsets=(0, 8), dtype="F32", **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def saved(tensors: dict[str, torch.Tensor], path: Path, **metadata: str) -> bytes:
    save_file(tensors, path, metadata=metadata or None)
    return path.read_bytes()


def summary(content: bytes, path: Path) -> str | None:
    """What the reader must say of a file, from the library itself; None where that refuses it."""
    path.write_bytes(content)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError):
        return None
    parts = [f" {name} {list(t.shape)} {NAMES.get(t.dtype)};" for name, t in sorted(tensors.items())]
    return "read" + "".join(parts)


def test_what_the_library_writes_is_read(read, tmp_path):
    files = [
        saved({"w": torch.ones(3, 5), "b": torch.zeros(5), "scalar": torch.tensor(2.0)}, tmp_path / "a"),
        saved({"x": torch.ones(2, 3, 4, 5, 6, dtype=torch.float64)}, tmp_path / "b", format="pt"),
        saved({'ü "quoted" \\ 😀': torch.arange(3), "none": torch.ones(0, 7)}, tmp_path / "c", a='"'),
        saved({"u": torch.ones(3, dtype=torch.uint8)}, tmp_path / "d"),
        packed({}),
        packed({"a": entry([1 << 60, 0], [0, 0])}),
        packed(b'{"\\u00fc\\ud83d\\ude00\\t": {"dtype":"U8","shape":[],"data_offsets":[0,1]}}  ', b"x"),
    ]
    said = read(files)
    assert said[:5] == [summary(content, tmp_path / "e") for content in files[:5]]
    assert said[5:] == ["read a [1152921504606846976, 0] float32;", "read ü😀\t [] uint8;"]


REFUSED = {
    "is no safetensors file: it has 0 bytes": b"",
    "is no safetensors file: it has 7 bytes": b"1234567",
    "it names a header of 9 bytes and has 10": struct.pack("<Q", 9) + b"{}",
    "it names a header of 18446744073709551615 bytes": struct.pack("<Q", 2**64 - 1) + b"{}",
    "byte 0: an object, an array, a string or a whole number must stand here": packed(b""),
    "the header must be an object that names tensors": packed([1]),
    'the entry "a" of the header must be an object': packed({"a": 3}),
    'the metadata "k" must be a string': packed({"__metadata__": {"k": 1}}),
    "byte 13: there are more than 8 levels": packed(b'{"a":' + b"[" * 99 + b"]" * 99 + b"}"),
    'the name "a" stands twice in an object': packed(b'{"a":{},"a":{}}'),
    "nothing must follow the value": packed(b"{} x"),
    "'}' is missing": packed(b'{"a":1'),
    "':' is missing": packed(b'{"a" 1}'),
    "a name in quotes must stand here": packed(b"{a:1}"),
    "byte 4: an object, an array": packed(b"[1, ]"),
    "the number must be whole": packed({"a": 1.5}),
    "the number must be below 2^63": packed({"a": 2**63}),
    "a number must not begin with 0": packed(b'{"a":01}'),
    "byte 5: an object": packed(b'{"a":-1}'),
    "the string does not end": packed(b'{"a'),
    "a control character must be escaped": packed(b'{"a\n":1}'),
    "there is no such escape": packed(b'{"\\x":1}'),
    "must be followed by four hexadecimal digits": packed(b'{"\\u12g4":1}'),
    "half of a surrogate pair stands alone": packed(b'{"\\ud800":1}'),
    "the text must be UTF-8": packed(b'{"\xc0\x80":1}'),
    "must have a dtype, a shape and two data_offsets, and nothing else": packed(
        {"a": entry(more=1)}, bytes(8)
    ),
    'the tensor "b" must have a dtype': packed({"b": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    'the tensor "c" must have a dtype': packed({"c": entry(offsets=[0, 4, 8])}, bytes(8)),
    'the tensor "d" must have a dtype': packed({"d": entry(shape=["2"])}, bytes(8)),
    'F32, F64, BF16, I32, I64 or U8, got "F16"': packed({"a": entry(dtype="F16")}, bytes(8)),
    "must lie in the 7 bytes of data, got [0, 8)": packed({"a": entry()}, bytes(7)),
    "must lie in the 8 bytes of data, got [8, 0)": packed({"a": entry([2], [8, 0])}, bytes(8)),
    "a [3] float32 cannot have 8 bytes": packed({"a": entry([3])}, bytes(8)),
    "float32 cannot have 0 bytes": packed({"a": entry([1 << 62, 4], [0, 0])}),
    "the tensors overlap at byte 4 of the data": packed({"a": entry(), "b": entry([1], [4, 8])}, bytes(8)),
    "the tensors leave a gap before byte 4": packed({"b": entry([1], [4, 8])}, bytes(8)),
    "the tensors end at byte 8 of 9": packed({"a": entry()}, bytes(9)),
    "a must be finite, but entry 1 is nan": packed({"a": entry()}, struct.pack("<ff", 1, float("nan"))),
}


def test_what_is_malformed_is_refused_with_a_reason(read):
    for message, line in zip(REFUSED, read(list(REFUSED.values())), strict=True):
        assert line.startswith("refused "), (message, line)
        assert message in line


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change, drop, repeat or insert a few bytes, mostly of the header, or lie about its length."""
    data = bytearray(content)
    header = 8 + struct.unpack("<Q", content[:8])[0]
    tokens = [b"0", b"9" * 19, b'"', b"[", b"]", b"{", b"}", b",", b":", b"\\u", b"\xff", b"-", b".5", b" "]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(8, header) if rng.random() < 0.8 else rng.randrange(len(data))
        at = min(at, len(data) - 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randrange(1, 30)]
        elif kind == 3:
            data[at : at + 1] = rng.choice(tokens)
        else:
            data = data[: rng.randrange(len(data) + 1)] or bytearray(1)
    if len(data) > 8 and rng.random() < 0.9:  # else most would be refused by their length alone
        data[:8] = struct.pack("<Q", max(0, header - 8 + len(data) - len(content)))
    return bytes(data)


def test_no_file_breaks_the_reader_and_none_is_read_that_the_library_refuses(read, tmp_path):
    rng = random.Random(0)
    base = [
        saved(
            {"w": torch.ones(3, 5), "b": torch.zeros(5), "k": torch.arange(2)}, tmp_path / "a", format="pt"
        ),
        packed({"a": entry(), "b": entry([1, 1], [8, 12])}, bytes(12)),
    ]
    files = [mutated(rng.choice(base), rng) for _ in range(3000)]
    said = read(files)
    accepted = [(content, line) for content, line in zip(files, said, strict=True) if line.startswith("read")]
    refused = [line for line in said if line.startswith("refused ")]
    assert len(accepted) + len(refused) == len(files)
    assert len(accepted) >= 50
    assert len({line.split(": ", 1)[-1] for line in refused}) >= 100  # deep inside, not at the door
    for content, line in accepted:
        assert summary(content, tmp_path / "f") == line
