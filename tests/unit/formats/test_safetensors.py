"""Files of PyTorch's weights: read, refused in a line where they are damaged."""

import json
import struct
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from mlr.errors import InputError
from mlr.formats.safetensors import read_safetensors


def file_of(header, data=b""):
    """The format as its documentation has it: 8 bytes of length, JSON, numbers."""
    header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_arrays_are_read_as_they_are(tmp_path):
    path = tmp_path / "a.safetensors"
    values = np.arange(6, dtype="<f4"), np.arange(4, dtype="<f2"), np.array([7], "<i8")
    header = {
        "__metadata__": {"format": "pt"},
        "w": entry("F32", [2, 3], 0, 24),
        "b": entry("F16", [4], 24, 32),
        "count": entry("I64", [], 32, 40),
    }
    path.write_bytes(file_of(header, b"".join(value.tobytes() for value in values)))
    arrays = read_safetensors(path)
    assert sorted(arrays) == ["b", "count", "w"]
    for name, value in zip(("w", "b", "count"), values):
        assert arrays[name].dtype == value.dtype
        assert_array_equal(arrays[name].ravel(), value)
    assert arrays["w"].shape == (2, 3) and arrays["count"].shape == ()


def test_no_truncated_or_longer_file_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": np.ones((2, 3), np.float32)}, path)
    content = path.read_bytes()
    for damaged in (*(content[:length] for length in range(len(content))), content + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(
            InputError, match="a.safetensors is not a .safetensors file, or is damaged"
        ):
            read_safetensors(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "a.safetensors does not exist"),
        (b"no weights at all", "is not a .safetensors file, or is damaged"),
        (file_of({}), "a.safetensors holds no arrays"),
        (file_of({"w": entry("F32", [2**62, 4], 0, 4)}, bytes(4)), "or is damaged"),
        (
            file_of({"w": entry("F32", [1], 0, 4), "v": entry("F32", [1], 0, 4)}, bytes(4)),
            "or is damaged",
        ),
        (
            file_of({"w": entry("BF16", [2], 0, 4)}, bytes(4)),
            "numbers of a type that NumPy lacks .*bfloat16.*: save them as float32",
        ),
        (
            file_of({"w": entry("F8_E4M3", [2], 0, 2)}, bytes(2)),
            "numbers of a type that NumPy lacks",
        ),
    ],
    ids=["absent", "text", "empty", "huge", "overlapping", "bfloat16", "float8"],
)
def test_what_can_not_be_read(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_safetensors(tmp_path / "a.safetensors")


def test_the_package_is_named_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(file_of({}))
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(InputError, match=r"reading .*a.safetensors needs the package safetensors"):
        read_safetensors(tmp_path / "a.safetensors")
