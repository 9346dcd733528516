"""Reads MXNet's format of named arrays (.params) in Python: MXNet itself accepts damaged files
without an error, or crashes on them.
"""

import struct
from math import prod
from pathlib import Path
from typing import Any, Dict, Mapping, Union

import numpy as np

from mlr.errors import InputError

LIST = 0x112  # the number at the start of a file
# The number at the start of an array. Before MXNet 0.12 it was the number of dimensions; since then
# it is one of these three. The second came with MXNet 1.0, the third with 1.6.
UNTYPED_STORAGE, TYPED_STORAGE, NUMPY_SHAPES = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 0
CPU = 1, 0  # the device: type and number
MOST_DIMENSIONS = 32  # NumPy's limit
DTYPES = {0: "float32", 1: "float64", 2: "float16", 3: "uint8", 4: "int32", 5: "int8", 6: "int64"}


def write_params(path: Union[str, Path], arrays: Mapping[str, Any]) -> None:
    """Write arrays, {name: NDArray or NumPy array}.

    The bytes are those that `nd.save` writes in MXNet 1.5, and in later versions without NumPy
    shapes. MXNet's own writer does not notice if the disk is full at the end of the file. Raises
    OSError, and ValueError for a dtype not in DTYPES.
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
    in the order of the file.

    Raises InputError if the file is absent, or if its structure is not what MXNet writes: it is
    truncated, bytes follow the last name, a shape needs more numbers than the file has, or arrays
    have no names. Only a checksum can tell whether the numbers themselves are right.
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
            f"{path} is not an MXNet parameter file, or is damaged: {error}; restore it from a copy"
        ) from None
    if len(names) != len(arrays) or not arrays:
        raise InputError(
            f"{path} holds {len(arrays):d} arrays under {len(names):d} names: expected a file "
            "written by save_parameters"
        )
    return dict(zip(names, arrays))


class _Reader:
    """The bytes of a file and the position in them. Its methods raise ValueError if the bytes can't
    be part of a parameter file.
    """

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
        """Return a name; the file has its length before it."""
        return str(self.bytes(self.take("Q")), "utf-8")

    def array(self) -> np.ndarray:
        """Return the next array, which any version of MXNet may have written."""
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
