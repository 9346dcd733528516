"""Parameter files of the released code, against a network with its structure that reads and writes
them by Gluon's own means.
"""

import io
import json
import re
import shutil
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from conftest import write_images
from mxnet import nd
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr import compare
from mlr.errors import InputError
from mlr.formats.params import read_params, write_params
from mlr.model.parameters import materialize
from mlr.model.released_style import ReleasedStyleNet


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A network as the released one, and the file that it saved."""
    mx.random.seed(1)
    net = ReleasedStyleNet(8)
    net.initialize(mx.init.Xavier())
    net(nd.zeros((1, 3, 64, 64)))
    # else they are all 0 and 1, and none could be mistaken
    for name, parameter in net._collect_params_with_prefix().items():
        if "running" in name or "beta" in name or "bias" in name:
            parameter.set_data(nd.random.uniform(0.5, 1.5, parameter.shape))
    nd.waitall()
    path = tmp_path_factory.mktemp("released") / "resnet50_v2_energy8.params"
    net.save_parameters(str(path))
    return net, path


@pytest.fixture(scope="module")
def loaded(released):
    net = mlr.MultiLevelNet(classes=8)
    mlr.load_original_parameters(net, released[1])
    return net


@pytest.fixture
def small(tmp_path):
    """A smaller network, and its file without a checksum."""
    net = mlr.MultiLevelNet(classes=8, backbone="resnet18_v2_slim", style_width=8)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    mlr.save_original_parameters(net, tmp_path / "small.params")
    (tmp_path / "small.params.sha256").unlink()
    return net, tmp_path / "small.params"


def values(net):
    return [parameter.data().asnumpy() for parameter in net._collect_params_with_prefix().values()]


def test_a_file_of_the_released_code_gives_its_logits(released, loaded):
    images = nd.random.normal(shape=(2, 3, 96, 96))
    # One build, the same operators in float32 in the same order, but for the division of the Gram
    # matrix.
    assert_allclose(loaded(images).asnumpy(), released[0](images).asnumpy(), rtol=1e-5, atol=1e-6)


def test_the_round_trip_is_exact_to_the_byte(released, loaded, tmp_path, fidelity):
    path = tmp_path / "back" / "ours.params"
    mlr.save_original_parameters(loaded, path)
    fidelity(
        "parameters after a round trip, bytes that differ",
        int(path.read_bytes() != released[1].read_bytes()),
        0,
    )
    assert (path.parent / "ours.params.sha256").read_text().endswith("  ours.params\n")
    # Gluon's own reader takes it
    released[0].load_parameters(str(path))


def test_its_275_names(released):
    golden = np.load(Path(__file__).parents[2] / "golden" / "original_fi8_seed7.npz")
    arrays = read_params(released[1])
    assert list(arrays) == list(golden["param_names"])
    assert [list(array.shape) for array in arrays.values()] == [
        json.loads(shape) for shape in golden["param_shapes"]
    ]


def test_a_network_that_has_parameters_already(released):
    net = mlr.MultiLevelNet(classes=8)
    # deferred: no image has told the shapes yet
    net.initialize(mx.init.Xavier())
    mlr.load_original_parameters(net, released[1])
    net.cast("float64")
    mlr.load_original_parameters(net, released[1])
    assert net.fusion.output.weight.data().dtype == np.float64
    assert_array_equal(
        net.fusion.output.weight.data().asnumpy(), released[0].output[1].weight.data().asnumpy()
    )


def test_onto_devices(released):
    net = mlr.MultiLevelNet(classes=8)
    mlr.load_original_parameters(net, released[1], ctx=[mx.cpu(0), mx.cpu(1)])
    assert net.fusion.output.weight.list_ctx() == [mx.cpu(0), mx.cpu(1)]


def test_float16_is_widened(released, tmp_path):
    """What `net.cast("float16")` before `save_parameters` gives."""
    path = tmp_path / "half.params"
    nd.save(
        str(path),
        {
            name: nd.array(array, dtype="float16")
            for name, array in read_params(released[1]).items()
        },
    )
    net = mlr.MultiLevelNet(classes=8)
    mlr.load_original_parameters(net, path)
    assert_array_equal(
        net.fusion.output.weight.data().asnumpy(),
        released[0].output[1].weight.data().asnumpy().astype("float16").astype("float32"),
    )


def test_the_older_names_of_save_params(released, tmp_path):
    """Which count layers by the process, so that only their order tells them apart."""
    arrays = {
        parameter.name: parameter.data() for parameter in released[0].collect_params().values()
    }
    assert not any("." in name for name in arrays)
    path, net = tmp_path / "older.params", mlr.MultiLevelNet(classes=8)
    nd.save(str(path), arrays)
    mlr.load_original_parameters(net, path)
    for ours, theirs in zip(values(net), read_params(released[1]).values()):
        assert_array_equal(ours, theirs)
    nd.save(str(path), {"arg:" + name: arrays[name] for name in list(arrays)[:-1]})
    with pytest.raises(
        InputError,
        match=r"275 missing \(feature_extractor.0.gamma, .*; "
        r"274 unexpected \(resnetv2\d+_batchnorm0_gamma, ",
    ):
        mlr.load_original_parameters(net, path)


def test_another_networks_file_is_refused_and_nothing_changes(small):
    net, path = small
    arrays = {name: nd.array(array) for name, array in read_params(path).items()}
    del arrays["branch_2.3.bias"]
    arrays["branch_4.3.bias"] = nd.zeros(256)
    arrays["output.1.bias"] = nd.zeros(7)
    arrays["output.1.weight"] = arrays["output.1.weight"] * 2
    nd.save(str(path), arrays)
    before = values(net)
    with pytest.raises(
        InputError,
        match=(
            r"small.params don't fit the network: 1 missing \(branch_2.3.bias\); "
            r"1 unexpected \(branch_4.3.bias\); "
            r"1 wrongly shaped \(output.1.bias \(7,\) instead of \(8,\)\)"
        ),
    ):
        mlr.load_original_parameters(net, path)
    for value, ours in zip(before, values(net)):
        assert_array_equal(value, ours)


def test_a_network_without_parameters_stays_without(released):
    net = mlr.MultiLevelNet(classes=3)
    with pytest.raises(
        InputError, match=r"2 wrongly shaped \(output.1.weight \(8, 4096\) instead of \(3, 4096\)"
    ):
        mlr.load_original_parameters(net, released[1])
    with pytest.raises(RuntimeError, match="has not been initialized"):
        net.fusion.output.weight.data()


def test_a_truncated_file(small):
    net, path = small
    content = path.read_bytes()
    for length in (0, 7, 24, 1000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(
            InputError,
            match=(
                "small.params is not an MXNet parameter file, or is damaged: it ends [0-9]+ bytes "
                "too early"
            ),
        ):
            mlr.load_original_parameters(net, path)


def test_a_flipped_bit_anywhere_is_found_by_the_checksum(small):
    net, path = small
    mlr.save_original_parameters(net, path)
    content, random = path.read_bytes(), np.random.RandomState(0)
    for position in random.randint(0, len(content), 20):
        flipped = bytearray(content)
        flipped[position] ^= 1 << random.randint(8)
        path.write_bytes(flipped)
        with pytest.raises(
            InputError,
            match=(
                "small.params is damaged or changed: its SHA-256 is not the one in "
                ".*small.params.sha256"
            ),
        ):
            mlr.load_original_parameters(net, path)


def test_a_flipped_bit_without_a_checksum(small):
    """In a name or a shape it is found; an exponent turned to infinity, too."""
    net, path = small
    content = path.read_bytes()
    for offset, message in (
        (content.rindex(b"output.1.bias"), "1 missing .output.1.bias.; 1 unexpected"),
        (24 + 12, "is not an MXNet parameter file, or is damaged"),
    ):
        flipped = bytearray(content)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=message):
            mlr.load_original_parameters(net, path)
    weight = net.fusion.output.weight.data().asnumpy().tobytes()
    path.write_bytes(content.replace(weight, np.float32(np.inf).tobytes() + weight[4:]))
    with pytest.raises(
        InputError, match=r"1 not finite floating-point numbers \(output.1.weight NaN or infinite\)"
    ):
        mlr.load_original_parameters(net, path)


@pytest.mark.parametrize(
    "net, message",
    [
        (lambda: mlr.MultiLevelNet(classes=8), "has no parameters yet: initialize it"),
        (
            lambda: mlr.MultiLevelNet(classes=8, taps=("stem", "stage1", "stage2")),
            r"its list of taps \(stem, stage1, stage2\) is not the released one \(stem, pool",
        ),
        (
            lambda: mlr.MultiLevelNet(classes=8, gram_scale=100.0),
            r"its gram_scale \(100\) is not the released one \(1\)",
        ),
        (
            lambda: mlr.MultiLevelNet(classes=8, fusion="add"),
            r"its fusion \(add\) is not the released one \(concat\)",
        ),
        (
            lambda: mlr.MultiLevelNet(classes=8, backbone="squeezenet1.1"),
            r"its backbone \(squeezenet1.1\) is not the released one \(a ResNet v2\)",
        ),
        (
            lambda: mlr.MultiLevelNet(classes=8, backbone="resnet18_v1"),
            r"its backbone \(resnet18_v1\) is not the released one",
        ),
    ],
)
def test_networks_that_cannot_be_saved(net, message, tmp_path):
    with pytest.raises(InputError, match=message):
        mlr.save_original_parameters(net(), tmp_path / "a.params")
    assert list(tmp_path.iterdir()) == []


def test_other_networks_that_cannot_be_loaded(released):
    """The parameters fit, but the network would compute something else with them."""
    with pytest.raises(InputError, match=r"its gram_scale \(100\)"):
        mlr.load_original_parameters(mlr.MultiLevelNet(8, gram_scale=100.0), released[1])


@pytest.fixture(scope="module")
def compared(released, tmp_path_factory):
    """Two images of two classes, and the logits of the authors' code on them: here, of the released
    structure.
    """
    folder = tmp_path_factory.mktemp("compared")
    write_images(folder, classes=("awe", "fear"), train=1, valid=0, test=0)
    chain = compare.released_batches(str(folder / "train"))
    logits = np.concatenate([released[0](images).asnumpy() for images, _ in chain])
    return folder / "train", logits


def test_the_comparison_for_owners_of_the_authors_code(released, compared, tmp_path, capsys):
    folder, logits = compared
    np.save(str(tmp_path / "logits.npy"), logits)
    arguments = [
        str(released[1]),
        str(folder),
        "--ctx",
        "cpu",
        "--logits",
        str(tmp_path / "logits.npy"),
    ]
    assert compare.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 images of 2 classes, 8 logits, on cpu(0)" in printed and "ABOVE" not in printed
    logits[1, 3] += 0.01
    np.save(str(tmp_path / "logits.npy"), logits)
    assert compare.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        "mlr compare: error: the difference is above its bound for logits, authors' code\n"
    )
    assert [line.split()[:3] for line in printed.out.splitlines() if line.endswith("ABOVE")] == [
        ["logits,", "authors'", "code"]
    ]


def archive_of(array):
    """The content of an .npz file."""
    file = io.BytesIO()
    np.savez(file, array)
    return file.getvalue()


@pytest.mark.parametrize("name, reader", [(".hidden.jpg", "Gluon's"), ("a.webp", "this package")])
def test_a_comparison_of_files_that_only_one_reads(
    released, compared, tmp_path, capsys, name, reader
):
    folder = Path(shutil.copytree(str(compared[0]), str(tmp_path / "images")))
    cv2.imwrite(str(folder / "awe" / name), np.zeros((64, 64, 3), np.uint8))
    assert compare.main([str(released[1]), str(folder), "--ctx", "cpu"]) == 2
    assert f"{folder / 'awe' / name}: only {reader}" in capsys.readouterr().err


def test_a_comparison_of_a_file_in_half_precision(released, compared, tmp_path, capsys):
    arrays = read_params(released[1])
    write_params(
        tmp_path / "half.params", {name: each.astype(np.float16) for name, each in arrays.items()}
    )
    assert compare.main([str(tmp_path / "half.params"), str(compared[0]), "--ctx", "cpu"]) == 0
    assert "ABOVE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "prepare, message",
    [
        (lambda path: None, "No such file"),
        (
            lambda path: np.save(str(path), np.zeros((5, 8))),
            r"logits.npy: the logits have the shape \(5, 8\), not \(2, 8\)",
        ),
        (lambda path: path.write_text("text"), "logits.npy can't be read as logits"),
        (lambda path: path.write_bytes(b"PK\3\4"), "logits.npy can't be read as logits"),
        (lambda path: np.save(str(path), np.array(["awe"])), "does not hold one array of numbers"),
        (
            lambda path: path.write_bytes(archive_of(np.zeros((2, 8)))),
            "does not hold one array of numbers",
        ),
    ],
)
def test_a_comparison_with_wrong_logits(released, compared, tmp_path, capsys, prepare, message):
    prepare(tmp_path / "logits.npy")
    assert (
        compare.main(
            [
                str(released[1]),
                str(compared[0]),
                "--ctx",
                "cpu",
                "--logits",
                str(tmp_path / "logits.npy"),
            ]
        )
        == 2
    )
    assert re.search(message, capsys.readouterr().err)
