"""mlr weights: what it lists, fetches and says of a file."""

import hashlib
import io
import re
import zipfile

import mxnet as mx
import numpy as np
import onnx
import pytest
from mxnet import nd
from mxnet.gluon.model_zoo import model_store, vision
from numpy.testing import assert_array_equal
from served import serving

from mlr import weights
from mlr.model.backbone import Backbone
from mlr.model.backbones import BACKBONES
from mlr.model.parameters import infer_shapes
from mlr.model.pretrained import load_pretrained
from mlr.model.zoo_files import ONNX_FILES
from mlr.runtime.hashing import sha256_of

NETWORK = "squeezenet1.1"  # 5 MB


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """MXNet's cache, empty, and no host of weights."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet"))
    for host in ("MXNET_GLUON_REPO", "HF_ENDPOINT"):
        monkeypatch.setenv(host, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "mxnet" / "models"


@pytest.fixture
def zoo():
    net = vision.squeezenet1_1()
    net.initialize(mx.init.Xavier())
    net(nd.zeros((1, 3, 224, 224)))
    nd.waitall()
    return net


@pytest.fixture
def zoos_file(zoo, tmp_path, monkeypatch):
    """Its parameters, and its name as the zoo's."""
    zoo.save_parameters(str(tmp_path / "zoo.params"))
    content = (tmp_path / "zoo.params").read_bytes()
    sha1 = hashlib.sha1(content).hexdigest()
    monkeypatch.setitem(model_store._model_sha1, NETWORK, sha1)
    return f"{NETWORK}-{sha1[:8]}", content


def listed(capsys, *arguments):
    assert weights.main(list(arguments)) == 0
    said = capsys.readouterr()
    assert not said.err
    head, *blocks = said.out.rstrip("\n").split("\n\n")
    return head, {block.splitlines()[0]: block.splitlines()[1:] for block in blocks}


def test_every_backbone_is_listed_without_a_network(cache, capsys):
    head, files = listed(capsys)
    assert str(cache) in head and list(files) == list(BACKBONES) and not cache.exists()
    assert [line.split() for line in files["resnet50_v2"]] == [
        ["resnet50_v2-ecdde353.params", "-", "not", "here"]
        + ["SHA-1", "ecdde35339c1aadbec4f547857078e734a76fb49"],
        ["http://127.0.0.1:9/gluon/models/resnet50_v2-ecdde353.zip"],
        ["resnet50-v2-7.onnx", "102.4", "MB", "not", "here"]
        + ["SHA-256", "79102261eb6e5fd7af5d27f41316293e388c5cb691e5d25bfb035c4f64fefe31"],
        [
            "http://127.0.0.1:9/onnxmodelzoo/legacy_models/resolve/main/validated/vision/"
            "classification/resnet/model/resnet50-v2-7.onnx"
        ],
    ]
    for backbone, anatomy in BACKBONES.items():
        assert ("no zoo has weights" in files[backbone][0]) != (anatomy.zoo == backbone), backbone
    assert listed(capsys, "list") == (head, files)


def test_the_hosts_are_the_zoos_own(monkeypatch, capsys):
    monkeypatch.delenv("MXNET_GLUON_REPO")
    monkeypatch.delenv("HF_ENDPOINT")
    _, files = listed(capsys)
    assert "apache-mxnet." in files["vgg16"][1] and "/gluon/models/vgg16-" in files["vgg16"][1]
    assert files["vgg16"][3].startswith("    https://huggingface.co/onnxmodelzoo/")


def test_both_files_of_a_backbone_may_be_here(zoos_file, cache, capsys, monkeypatch):
    name, content = zoos_file
    place, size, _ = ONNX_FILES[NETWORK]
    monkeypatch.setitem(ONNX_FILES, NETWORK, (place, size, (hashlib.sha256(b"onnx").hexdigest(),)))
    cache.mkdir(parents=True)
    (cache / f"{name}.params").write_bytes(content)
    (cache / "squeezenet1.1-7.onnx").write_bytes(b"onnx")
    lines = listed(capsys)[1][NETWORK]
    assert "  here  " in lines[0] and "  here  " in lines[2]


def test_what_is_here_is_told_by_its_hash(zoos_file, cache, capsys):
    name, content = zoos_file
    other = hashlib.sha1(content + b"x").hexdigest()[:8]
    cache.mkdir(parents=True)
    (cache / f"{name}.params").write_bytes(content)
    assert "  here  " in listed(capsys)[1][NETWORK][0]
    (cache / f"{name}.params").write_bytes(content[:-1])
    (cache / f"{NETWORK}-{other}.params").write_bytes(content + b"x")
    lines = listed(capsys)[1][NETWORK]
    assert "  damaged  " in lines[0]
    assert (
        lines[-1].split()
        == f"{NETWORK}-{other}.params - here, from another version of MXNet".split()
    )


def test_get_fetches_what_pretrained_zoo_takes(zoo, zoos_file, cache, capsys, monkeypatch):
    name, content = zoos_file
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{name}.params", content)
    with serving({f"/gluon/models/{name}.zip": archive.getvalue()}) as server:
        monkeypatch.setenv("MXNET_GLUON_REPO", server.address)
        assert weights.main(["get", NETWORK]) == 0
    assert capsys.readouterr().out == f"{cache / name}.params\n"
    net = Backbone(NETWORK)
    infer_shapes(net)
    assert load_pretrained(net, "zoo")["file"] == f"{name}.params"
    assert_array_equal(net.stem[0].weight.data().asnumpy(), zoo.features[0].weight.data().asnumpy())


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet50_v2", "resnet50_v2 can't be downloaded .*Connection refused.*resnet50-v2-7.onnx"),
        ("resnet50", "unknown backbone resnet50: choose one of resnet18_v2, "),
        ("resnet18_v2_slim", "no zoo has ImageNet weights for resnet18_v2_slim"),
        ("", "it is empty"),
    ],
)
def test_what_can_not_be_fetched(name, message, capsys):
    assert ended(["get", name]) == 2
    said = capsys.readouterr()
    assert not said.out
    (line,) = said.err.splitlines()
    assert re.search(message, line)


def ended(arguments):
    try:
        return weights.main(arguments)
    except SystemExit as end:
        return end.code


def test_check_of_a_file_that_fits(zoos_file, tmp_path, capsys):
    path = tmp_path / "zoo.params"
    assert weights.main(["check", str(path), "--backbone", NETWORK]) == 0
    assert capsys.readouterr().out == (
        f"{path} fits {NETWORK} by the names and shapes of its 50 parameters, SHA-256 "
        f"{sha256_of(path)}\n"
    )


@pytest.mark.parametrize("network", [NETWORK, "mobilenetv2_1.0"])
def test_check_of_the_onnx_zoos_names(network, tmp_path, capsys):
    """As its files that came from Gluon have them, with the shape of a reshape between."""
    zoo = vision.get_model(network)
    zoo.initialize()
    zoo(nd.zeros((1, 3, 224, 224)))
    nd.waitall()
    initializers = [
        onnx.numpy_helper.from_array(parameter.data().asnumpy(), name)
        for name, parameter in zoo.collect_params().items()
    ]
    shape = onnx.numpy_helper.from_array(np.array([0, -1]), "reshape_attr_tensor421")
    graph = onnx.helper.make_graph([], "mxnet_converted_model", [], [], [*initializers, shape])
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "a.onnx"))
    assert weights.main(["check", str(tmp_path / "a.onnx"), "--backbone", network]) == 0
    assert f"a.onnx fits {network} by" in capsys.readouterr().out


def test_check_lists_every_name_that_does_not_fit(zoos_file, tmp_path, capsys):
    path = tmp_path / "zoo.params"
    assert weights.main(["check", str(path), "--backbone", "squeezenet1.0"]) == 2
    said = capsys.readouterr()
    lines = [line.rsplit(maxsplit=1) for line in said.out.splitlines()]
    # fire modules stand before another pool, and the first convolution has another size
    assert [kind.strip() for kind, _ in lines].count("missing") == 12
    assert ["wrongly shaped", "features.0.weight"] in [[kind.strip(), name] for kind, name in lines]
    (line,) = said.err.splitlines()
    assert f"the parameters in {path} don't fit the network: 12 missing" in line


@pytest.mark.parametrize(
    "name, message",
    [
        ("none", "parameter file none does not exist"),
        ("zoo", "parameter file zoo does not exist"),
        ("a.safetensors", "a.safetensors is not a .safetensors file"),
        ("a.npz", "a.npz is not a .npz file"),
        ("a.onnx", "a.onnx is not an ONNX file"),
        ("a.params", "a.params is not an MXNet parameter file"),
    ],
)
def test_check_of_what_is_no_file_of_weights(name, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "." in name:
        (tmp_path / name).write_bytes(b"nothing")
    assert weights.main(["check", name, "--backbone", NETWORK]) == 2
    said = capsys.readouterr()
    assert message in said.err and not said.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["check", "a.params"], "the following arguments are required: --backbone"),
        (["check", "", "--backbone", NETWORK], "it is empty"),
        (["check", "a.params", "--backbone", ""], "it is empty"),
        (["get"], "the following arguments are required: NAME"),
        (["dance"], "invalid choice: 'dance'"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, capsys):
    assert ended(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and "--help" in line
