"""The reader of MXNet's parameter files against MXNet's own writer, and against damage."""

import struct

import numpy as np
import pytest
from mxnet import nd
from numpy.testing import assert_array_equal

from mlr.errors import InputError
from mlr.formats.params import read_params, write_params

DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_that_mxnet_writes(tmp_path, dtype):
    path = str(tmp_path / "a.params")
    values = {
        name: np.random.uniform(0, 100, shape).astype(dtype)
        for name, shape in (("b.weight", (2, 3, 1, 5)), ("a.bias", (7,)), ("größe", (1, 1)))
    }
    nd.save(path, {name: nd.array(value, dtype=dtype) for name, value in values.items()})
    arrays = read_params(path)
    assert list(arrays) == list(values)  # in the order of the file
    for name, value in values.items():
        assert arrays[name].dtype == value.dtype
        assert_array_equal(arrays[name], value)


def array_bytes(start, shape, dimension):
    """A float32 array of ones as MXNet has written it at one time or another."""
    count = int(np.prod(shape))
    return (
        struct.pack("<" + start[0], *start[1:])
        + struct.pack(f"<I{len(shape):d}{dimension}", len(shape), *shape)
        + struct.pack("<iii", 1, 0, 0)
        + np.ones(count, "<f4").tobytes()
    )


@pytest.mark.parametrize(
    "start, dimension, known_to_1_5_1",
    [
        (("",), "I", True),
        (("I", 0xF993FAC8), "q", True),
        (("Ii", 0xF993FAC9, 0), "q", True),
        (("Ii", 0xF993FACA, 0), "q", False),
    ],
    ids=["0.11", "0.12", "1.0", "numpy"],
)
def test_every_age_of_the_format(tmp_path, start, dimension, known_to_1_5_1):
    """Files of the Gluon zoo are years older than MXNet 1.5.1; what it loads, we load."""
    path = tmp_path / "old.params"
    path.write_bytes(
        struct.pack("<QQQ", 0x112, 0, 1)
        + array_bytes(start, (2, 3), dimension)
        + struct.pack("<QQ1s", 1, 1, b"w")
    )
    assert_array_equal(read_params(path)["w"], np.ones((2, 3)))
    if known_to_1_5_1:
        assert_array_equal(nd.load(str(path))["w"].asnumpy(), np.ones((2, 3)))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.params"
    nd.save(str(path), {"weight": nd.ones((2, 3)), "bias": nd.ones(4)})
    return path


def test_no_truncated_file_is_read(saved):
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(
            InputError,
            match="a.params is not an MXNet parameter file, or is damaged: it (ends|starts)",
        ):
            read_params(saved)


def test_a_longer_file_is_not_read(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(InputError, match="is damaged: 1 bytes follow its last name"):
        read_params(saved)


def test_every_flipped_bit_is_refused_or_keeps_the_structure(saved):
    """A flip in the numbers, the device, the reserved bytes or a name can't be seen here; no other
    is let through.
    """
    content = saved.read_bytes()
    refused = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(flipped)
        try:
            arrays = read_params(saved)
        except InputError:
            refused += 1
            continue
        assert [array.shape for array in arrays.values()] in ([(2, 3), (4,)], [(2, 3), (4,)][::-1])
    # most of the 92 bytes of structure
    assert refused > 8 * 80


@pytest.mark.parametrize("shape", [(-1, 3), (2**62, 2**62), (2**40,)])
def test_absurd_shapes(tmp_path, shape):
    path = tmp_path / "a.params"
    whole = array_bytes(("Ii", 0xF993FAC9, 0), (1,) * len(shape), "q")
    path.write_bytes(
        struct.pack("<QQQ", 0x112, 0, 1)
        + whole.replace(
            struct.pack(f"<{len(shape):d}q", *[1] * len(shape)),
            struct.pack(f"<{len(shape):d}q", *shape),
            1,
        )
        + struct.pack("<QQ1s", 1, 1, b"w")
    )
    with pytest.raises(
        InputError, match="is damaged: it (holds an array of shape|ends [0-9]+ bytes too early)"
    ):
        read_params(path)


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "does not exist"),
        (
            lambda path: path.write_bytes(b""),
            "is not an MXNet parameter file, or is damaged: it ends 8 bytes too early",
        ),
        (
            lambda path: path.write_bytes(b"no parameters at all"),
            "is not an MXNet parameter file, or is damaged: it starts with other bytes",
        ),
        (lambda path: nd.save(str(path), [nd.zeros(1)]), "holds 1 arrays under 0 names"),
        (
            lambda path: nd.save(str(path), {"w": nd.sparse.zeros("row_sparse", (2, 2))}),
            "is not an MXNet parameter file, or is damaged: it holds a sparse array",
        ),
    ],
)
def test_files_that_hold_no_parameters(tmp_path, write, message):
    write(tmp_path / "a.params")
    with pytest.raises(InputError, match="a.params " + message):
        read_params(tmp_path / "a.params")


def test_a_name_twice(saved):
    saved.write_bytes(
        saved.read_bytes().replace(
            struct.pack("<Q4s", 4, b"bias"), struct.pack("<Q6s", 6, b"weight")
        )
    )
    with pytest.raises(InputError, match="it names an array twice"):
        read_params(saved)


def test_a_name_that_is_no_text(saved):
    saved.write_bytes(saved.read_bytes().replace(b"weight", b"\xff" * 6))
    with pytest.raises(InputError, match="is damaged: 'utf-8' codec can't decode"):
        read_params(saved)


def test_what_is_written_equals_mxnets_to_the_byte(tmp_path):
    arrays = {
        "weight": nd.random.normal(shape=(2, 3)),
        "h\u00f6he": nd.array([1, 2], dtype="int64"),
        "double": nd.ones((1,), dtype="float64"),
        "half": nd.ones((4, 5, 6), dtype="float16"),
    }
    nd.save(str(tmp_path / "theirs.params"), arrays)
    write_params(str(tmp_path / "ours.params"), {**arrays, "double": arrays["double"].asnumpy()})
    assert (tmp_path / "ours.params").read_bytes() == (tmp_path / "theirs.params").read_bytes()


def test_a_file_without_room_for_its_end_is_an_error():
    """MXNet leaves it shorter, without a word."""
    with pytest.raises(OSError, match="No space left on device"):
        write_params("/dev/full", {"weight": nd.ones((100,))})
