"""Our safetensors code against the safetensors package, in both directions.

- Files of the package are read by us, written by us again, and are then equal byte for byte.
- Damaged files (made from sound ones by rule and at random) that the package refuses are refused
  by us too, each with one clear message; what both accept has the same tensors.
"""

import json
import random
import struct
import subprocess

import pytest
from support import Program, needs_packages

needs_packages("safetensors", "torch")

import safetensors
import safetensors.torch
import torch

TOOL = Program("safetensors_tool")

DTYPES = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
    "uint16", "uint32", "uint64", "complex64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
]


def tensors() -> dict:
    generator = torch.Generator().manual_seed(0)
    result = {}
    for i, name in enumerate(DTYPES):
        raw = torch.randint(0, 256, (i + 1, 16), dtype=torch.uint8, generator=generator)
        result[f"layer.{name}.weight"] = raw.view(getattr(torch, name))
    result["bool"] = torch.rand(7, generator=generator) > 0.5
    result["scalar"] = torch.tensor(3.5, dtype=torch.bfloat16)
    result["empty"] = torch.empty(0, 4)
    result["odd"] = torch.arange(3, dtype=torch.uint8)
    result["\u00fcml\u00e4ut \"quoted\" \u4f60"] = torch.ones(2, 3, 4)
    return result


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    def raw(tensor):
        return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(raw(a), raw(b))


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"note": "line\n\"x\" \u00e9 \x01"}])
def test_round_trip(metadata, tmp_path):
    """Equal byte for byte."""
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    safetensors.torch.save_file(tensors(), theirs, metadata=metadata)
    TOOL("copy", theirs, ours)
    assert theirs.read_bytes() == ours.read_bytes()


def test_round_trip_with_much_metadata(tmp_path):
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    many = {"format": "pt", "a": "1", "b": "2", "c": ""}  # their order of keys is at random
    safetensors.torch.save_file(tensors(), theirs, metadata=many)
    TOOL("copy", theirs, ours)
    with safetensors.safe_open(ours, "pt") as file:
        assert file.metadata() == many
        for name, tensor in tensors().items():
            assert same(file.get_tensor(name), tensor), name


def join(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def ruled_cases() -> dict:
    def file(header, data=8):
        return join(json.dumps(header).encode(), b"\1" * data)

    sound = file({"x": entry()})
    return {
        "empty": b"",
        "cut in the length": sound[:5],
        "cut in the header": sound[:30],
        "cut in the data": sound[:-1],
        "too long": sound + b"\0",
        "huge length": join(b"{}", b"", 2**63),
        "length of all ones": b"\xff" * 8,
        "length 0": join(b"", b""),
        "no object": join(b"[]", b""),
        "no JSON": join(b"{x}", b""),
        "not UTF-8": join(b'{"\xff":1}', b""),
        "unknown dtype": file({"x": entry(dtype="F31")}),
        "lower-case dtype": file({"x": entry(dtype="f32")}),
        "shape too big": file({"x": entry(shape=(3,))}),
        "shape too small": file({"x": entry(shape=(1,))}),
        "negative shape": file({"x": entry(shape=(-2,))}),
        "overflowing shape": file({"x": entry(shape=(2**62, 8), offsets=(0, 0))}, 0),
        "float shape": file({"x": {**entry(), "shape": [2.0]}}),
        "reversed range": file({"x": entry(offsets=(8, 0))}),
        "range past the end": file({"x": entry(shape=(4,), offsets=(0, 16))}),
        "hole at the start": file({"x": entry(offsets=(4, 12))}, 12),
        "hole between": file({"x": entry(), "y": entry(offsets=(12, 20))}, 20),
        "hole at the end": file({"x": entry()}, 12),
        "overlap": file({"x": entry(), "y": entry(offsets=(4, 12))}, 12),
        "twice the same range": file({"x": entry(), "y": entry()}),
        "no dtype": file({"x": {"shape": [2], "data_offsets": [0, 8]}}),
        "no shape": file({"x": {"dtype": "F32", "data_offsets": [0, 8]}}),
        "no offsets": file({"x": {"dtype": "F32", "shape": [2]}}),
        "metadata of numbers": file({"__metadata__": {"a": 1}, "x": entry()}),
        "metadata is a list": file({"__metadata__": ["a"], "x": entry()}),
        "tensor is a number": file({"x": 1}),
        "trailing text": join(json.dumps({"x": entry()}).encode() + b" y", b"\1" * 8),
        "pickle": b"PK\3\4" + b"\0" * 200,
    }


def random_cases(count: int) -> dict:
    rng = random.Random(0)
    base = safetensors.torch.save({"a": torch.ones(3), "b": torch.zeros(2, 2).bool()},
                                  metadata={"k": "v"})
    header_end = 8 + struct.unpack("<Q", base[:8])[0]
    cases = {}
    for i in range(count):
        data = bytearray(base)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            kind = rng.randrange(4)
            place = rng.randrange(header_end)
            if kind == 0:
                data[place] = rng.randrange(256)
            elif kind == 1:
                data[place] = rng.choice(b'0123456789[]{},:" ')
            elif kind == 2:
                del data[place:place + rng.randrange(1, 4)]
            else:
                data[place:place] = bytes([data[place]])
        cases[f"random {i}"] = bytes(data)
    return cases


def theirs_accepts(data: bytes) -> bool:
    try:
        safetensors.torch.load(data)
        return True
    except Exception:  # the package throws errors of several kinds
        return False


def verdicts(folder, cases):
    """What our tool says of each: "ok" or its message."""
    paths = []
    for i, data in enumerate(cases.values()):
        paths.append(folder / f"case_{i}")
        paths[-1].write_bytes(data)
    # Names in error messages may hold any byte of a damaged header.
    out = subprocess.run([TOOL.path, "check", *paths], check=True, capture_output=True).stdout
    lines = [line for line in out.decode(errors="replace").split("\n") if line]
    assert all(line.startswith(("ok", "safetensors file ")) for line in lines), "not one line each"
    assert len(lines) == len(cases)
    return list(zip(paths, lines, strict=True))


def test_files_damaged_by_rule(tmp_path):
    cases = ruled_cases()
    accepted = [name for name, (_, line) in zip(cases, verdicts(tmp_path, cases)) if line == "ok"]
    assert not accepted
    assert not any(map(theirs_accepts, cases.values()))


def test_files_damaged_at_random(tmp_path):
    """We refuse what the package refuses; what both accept has the same tensors."""
    cases = random_cases(1500)
    stricter = []
    for (name, data), (path, line) in zip(cases.items(), verdicts(tmp_path, cases), strict=True):
        ours, theirs = line == "ok", theirs_accepts(data)
        assert theirs or not ours, f"{name}: accepted by us, refused by the package"
        assert ours or str(path) in line, line
        if theirs and not ours:
            stricter.append(line)
        if ours:
            copied = tmp_path / "copied"
            TOOL("copy", path, copied)
            expected, found = safetensors.torch.load(data), safetensors.torch.load_file(copied)
            assert expected.keys() == found.keys()
            assert all(same(expected[key], found[key]) for key in expected), name
    # Where we are stricter on purpose: the same key twice, of which the package takes one.
    assert all("twice" in line for line in stricter), "\n".join(stricter)
