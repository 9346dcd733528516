"""MXNet's format of named arrays (.params), read in Python, as MXNet takes what is damaged for
granted or dies of it.
"""

import struct
from math import prod
from pathlib import Path
from typing import Any, Dict, Mapping, Union

import numpy as np

from mlr.errors import InputError

LIST = 0x112  # starts a file
# Start an array: before MXNet 0.12 its number of dimensions did, since then one of these, the last
# two since 1.0 and 1.6.
UNTYPED_STORAGE, TYPED_STORAGE, NUMPY_SHAPES = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 0
CPU = 1, 0  # the device: type and number
MOST_DIMENSIONS = 32  # NumPy's limit
DTYPES = {0: "float32", 1: "float64", 2: "float16", 3: "uint8", 4: "int32", 5: "int8", 6: "int64"}


def write_params(path: Union[str, Path], arrays: Mapping[str, Any]) -> None:
    """Write arrays, {name: NDArray or NumPy array}, to the byte as `nd.save` does on MXNet 1.5 and,
    without NumPy shapes, later.

    MXNet's own writer does not see when the end of a file finds no room. Raises OSError, and
    ValueError for a dtype not in DTYPES.
    """
    with open(path, "wb") as file:
        file.write(struct.pack("<QQQ", LIST, 0, len(arrays)))
        for array in arrays.values():
            array = np.ascontiguousarray(
                array if isinstance(array, np.ndarray) else array.asnumpy()
            )
            dtype = list(DTYPES.values()).index(array.dtype.name)
            file.write(
                struct.pack(
                    f"<IiI{array.ndim:d}qiii",
                    TYPED_STORAGE,
                    DENSE,
                    array.ndim,
                    *array.shape,
                    *CPU,
                    dtype,
                )
            )
            file.write(array.data)
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            file.write(struct.pack("<Q", len(name.encode())) + name.encode())


def read_params(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """Return the arrays of a file that `save_parameters` or `nd.save` wrote, {name: NumPy array},
    in its order.

    Raises InputError where it is absent, or where anything in its structure is not as MXNet writes
    it: truncated, longer than its arrays, shapes that it has no numbers for, arrays without names.
    Whether the numbers themselves are the right ones only a checksum can tell.
    """
    if not Path(path).is_file():
        raise InputError(f"parameter file {path} does not exist")
    file = _Reader(Path(path).read_bytes())
    try:
        if file.take("Q") != LIST:
            raise ValueError("it starts with other bytes")
        file.take("Q")  # reserved
        arrays = [file.array() for _ in range(file.take("Q"))]
        names = [file.text() for _ in range(file.take("Q"))]
        if file.position != len(file.data):
            raise ValueError(f"{len(file.data) - file.position:d} bytes follow its last name")
        if len(set(names)) != len(names):
            raise ValueError("it names an array twice")
    except ValueError as error:
        raise InputError(
            f"{path} is no MXNet parameter file, or a damaged one: {error}; restore it from a copy"
        ) from None
    if len(names) != len(arrays) or not arrays:
        raise InputError(
            f"{path} holds {len(arrays):d} arrays under {len(names):d} names: expected a file "
            "written by save_parameters"
        )
    return dict(zip(names, arrays))


class _Reader:
    """The bytes of a file and the position in them. Raises ValueError for what can't be."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = memoryview(data), 0

    def bytes(self, count: int) -> memoryview:
        """Return the next bytes."""
        if count > len(self.data) - self.position:
            raise ValueError(f"it ends {count - len(self.data) + self.position:d} bytes too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def take(self, kind: str) -> int:
        """Return one little-endian number; kind: a letter of `struct`."""
        return struct.unpack("<" + kind, self.bytes(struct.calcsize(kind)))[0]

    def text(self) -> str:
        """Return a name, which stands behind its length."""
        return str(self.bytes(self.take("Q")), "utf-8")

    def array(self) -> np.ndarray:
        """Return an array, in the form of any version of MXNet."""
        start = self.take("I")
        if start in (TYPED_STORAGE, NUMPY_SHAPES) and self.take("i") != DENSE:
            raise ValueError("it holds a sparse array")
        old = start not in (UNTYPED_STORAGE, TYPED_STORAGE, NUMPY_SHAPES)
        dimensions = start if old else self.take("I")
        if not 0 < dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"it holds an array of {dimensions:d} dimensions")
        shape = [self.take("I" if old else "q") for _ in range(dimensions)]
        if min(shape) < 0:
            raise ValueError(f"it holds an array of shape {shape}")
        self.take("q")  # the device that it was saved from
        number = self.take("i")
        if number not in DTYPES:
            raise ValueError(f"it holds an array of an unknown type, {number:d}")
        dtype = np.dtype(DTYPES[number]).newbyteorder("<")
        return np.frombuffer(self.bytes(prod(shape) * dtype.itemsize), dtype).reshape(shape)
