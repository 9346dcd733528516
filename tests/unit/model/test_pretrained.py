import hashlib

import mxnet as mx
import numpy as np
import onnx
import pytest
from mxnet import nd
from mxnet.gluon.model_zoo import model_store, vision
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr import paper
from mlr.errors import InputError
from mlr.model.finetuned import FineTuned
from mlr.model.networks import load_weights
from mlr.model.parameters import ParametersError, materialize, set_parameters
from mlr.model.pretrained import load_pretrained
from mlr.model.shallow_only import ShallowOnly
from mlr.model.zoo import names_in_zoo
from mlr.runtime.hashing import sha256_of


@pytest.fixture
def zoo():
    net = vision.resnet18_v2(prefix="resnetv24_")
    net.initialize(mx.init.Xavier())
    net(nd.zeros((1, 3, 64, 64)))
    # on mxnet-mkl, saving races with the forward pass, which changes layouts in place
    nd.waitall()
    return net


@pytest.fixture
def net():
    net = mlr.MultiLevelNet(3, backbone="resnet18_v2", style_width=8)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    return net


def save_structural(zoo, path):
    zoo.save_parameters(str(path))


def save_prefixed(zoo, path):
    zoo.collect_params().save(str(path))


def save_onnx(zoo, path):
    """As the ONNX model zoo's files that came from Gluon: the prefixed names, and whatever
    graph.
    """
    weights = [
        onnx.numpy_helper.from_array(parameter.data().asnumpy(), name)
        for name, parameter in zoo.collect_params().items()
    ]
    graph = onnx.helper.make_graph([], "mxnet_converted_model", [], [], weights)
    onnx.save(onnx.helper.make_model(graph), str(path))


def save_tagged(zoo, path):
    """As `Module.save_checkpoint` and `export` write it."""
    nd.save(
        str(path),
        {
            ("aux:" if "running" in name else "arg:") + name: parameter.data()
            for name, parameter in zoo.collect_params().items()
        },
    )


def save_without_prefix(zoo, path):
    """As Gluon's `save_params` before 1.3."""
    zoo.collect_params().save(str(path), strip_prefix=zoo.prefix)


def save_within_scopes(zoo, path):
    """As a network that has the zoo's as its part, with a layer of its own."""
    nd.save(
        str(path),
        {
            "multilevelnet7_dense0_weight": nd.ones(3),
            **{
                "multilevelnet7_backbone0_" + name: parameter.data()
                for name, parameter in zoo.collect_params().items()
            },
        },
    )


def save_as_a_part(zoo, path):
    nd.save(
        str(path),
        {
            "head.weight": nd.ones(3),
            **{
                "body.net." + name: parameter.data()
                for name, parameter in zoo._collect_params_with_prefix().items()
            },
        },
    )


@pytest.mark.parametrize(
    "save, name",
    [
        (save_structural, "weights.params"),
        (save_prefixed, "weights.params"),
        (save_tagged, "weights.params"),
        (save_onnx, "weights.onnx"),
        (save_without_prefix, "weights.params"),
        (save_within_scopes, "weights.params"),
        (save_as_a_part, "weights.params"),
    ],
)
def test_every_naming_of_the_zoos_file(zoo, net, tmp_path, save, name):
    path = tmp_path / name
    save(zoo, path)
    record = load_pretrained(net.backbone, str(path))
    assert record == {"source": str(path), "file": name, "sha256": sha256_of(path)}
    images = nd.random.normal(shape=(2, 3, 96, 96))
    # The same operators on the same numbers; float32 through 18 layers.
    assert_allclose(
        net.backbone(images)[-1].asnumpy(), zoo.features(images).asnumpy(), rtol=1e-4, atol=1e-6
    )


def drawn(net):
    """Materialize a network, and draw all its parameters, the running statistics too, so that none
    can be mistaken for another.
    """
    materialize(net, [mx.cpu()], mx.init.Xavier())
    for parameter in net.collect_params().values():
        parameter.set_data(nd.random.uniform(0.5, 1.5, parameter.shape))
    nd.waitall()
    return net


@pytest.mark.parametrize(
    "save",
    [
        lambda net, path: net.save_parameters(path),
        lambda net, path: net.collect_params().save(path),
        lambda net, path: net.collect_params().save(path, strip_prefix=net.prefix),
        mlr.save_original_parameters,
    ],
    ids=["as a run", "prefixed", "save_params", "as the released code"],
)
@pytest.mark.parametrize(
    "new",
    [
        lambda: mlr.MultiLevelNet(5, backbone=paper.SLIM_BACKBONE, style_width=8),
        lambda: FineTuned(5, paper.SLIM_BACKBONE, 64),
        lambda: ShallowOnly(5, paper.SLIM_BACKBONE, ("pool",), [8], 4),
    ],
    ids=["l_cil", "resnet50", "shallow"],
)
def test_of_a_run_of_the_default_method_every_method_takes_the_backbone(tmp_path, save, new):
    """And nothing else: what is new to the method, be it of the same shape, stays as it was."""
    trained, ours = (
        drawn(net)
        for net in (mlr.MultiLevelNet(5, backbone=paper.SLIM_BACKBONE, style_width=8), new())
    )
    backbone = getattr(ours, "backbone", ours).structural_parameters
    loaded = {parameter.name for parameter in backbone.values()}
    before = {
        parameter: parameter.data().asnumpy()
        for parameter in ours.collect_params().values()
        if parameter.name not in loaded
    }
    save(trained, str(tmp_path / "last.params"))
    load_weights(ours, str(tmp_path / "last.params"))
    for name, parameter in backbone.items():
        assert_array_equal(
            parameter.data().asnumpy(),
            trained.backbone.structural_parameters[name].data().asnumpy(),
        )
    assert len(before) >= 2
    for parameter, value in before.items():
        assert_array_equal(parameter.data().asnumpy(), value)


def test_a_run_of_the_branches_is_a_start_for_the_branches_alone(tmp_path):
    trained, ours = (
        drawn(ShallowOnly(classes, paper.SLIM_BACKBONE, ("stem", "pool"), [8, 8], 4))
        for classes in (5, 3)
    )
    trained.save_parameters(str(tmp_path / "last.params"))
    load_weights(ours, str(tmp_path / "last.params"))
    assert_array_equal(
        ours.stem[1].weight.data().asnumpy(), trained.stem[1].weight.data().asnumpy()
    )
    with pytest.raises(
        ParametersError,
        match=r"last.params don't fit the network: \d+ missing \(features.5.0.bn1.gamma, ",
    ) as raised:
        load_weights(drawn(FineTuned(5, paper.SLIM_BACKBONE, 64)), str(tmp_path / "last.params"))
    assert {name.split(".")[1] for name in raised.value.missing} == {
        "5",
        "6",
        "7",
        "8",
        "9",
    } and not raised.value.unexpected


def images_and_features(zoo):
    """Initialize a zoo network; return images and its features of them."""
    zoo.initialize(mx.init.Xavier())
    images = nd.random.normal(shape=(1, 3, 224, 224))
    expected = zoo.features(images).asnumpy()
    zoo(images)  # the classifier takes its shape, too
    nd.waitall()
    return images, expected


class Vgg16:
    """The zoo's VGG-16, its classifier apart, as `load_pretrained` takes a network."""

    def __init__(self):
        zoo = vision.vgg16()
        zoo.initialize()
        zoo(nd.zeros((1, 3, 224, 224)))
        self.features, self.name_in_zoo = zoo.features, "vgg16"
        names = names_in_zoo(zoo)
        self.structural_parameters, self.prefixed_parameters, self.left_out = names


@pytest.mark.slow
@pytest.mark.parametrize(
    "save, name", [(save_structural, "weights.params"), (save_onnx, "weights.onnx")]
)
def test_vgg16_whose_hidden_dense_layers_count_as_features(tmp_path, save, name):
    zoo = vision.vgg16(prefix="vgg0_")
    images, expected = images_and_features(zoo)
    save(zoo, tmp_path / name)
    ours = Vgg16()
    load_pretrained(ours, str(tmp_path / name))
    # float32 through 15 layers
    assert_allclose(ours.features(images).asnumpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_resnet50_v2_of_the_onnx_model_zoo(tmp_path):
    """Its names, resnetv24_..., and all of its 259 parameters."""
    zoo = vision.resnet50_v2(prefix="resnetv24_")
    images, expected = images_and_features(zoo)
    assert len(list(zoo.collect_params().keys())) == 259
    save_onnx(zoo, tmp_path / "resnet50-v2-7.onnx")
    net = mlr.MultiLevelNet(8)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    load_pretrained(net.backbone, str(tmp_path / "resnet50-v2-7.onnx"))
    # float32 through 50 layers
    assert_allclose(net.backbone(images)[-1].asnumpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "a.onnx does not exist"),
        (b"no ONNX", "a.onnx is not an ONNX file"),
        (b"", "a.onnx is not an ONNX file, or has no weights"),
    ],
)
def test_onnx_files_that_hold_no_weights(net, tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_pretrained(net.backbone, str(tmp_path / "a.onnx"))


def test_a_truncated_or_wrong_onnx_file(zoo, net, tmp_path):
    save_onnx(zoo, tmp_path / "a.onnx")
    content = (tmp_path / "a.onnx").read_bytes()
    (tmp_path / "a.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="a.onnx is not an ONNX file, or is damaged"):
        load_pretrained(net.backbone, str(tmp_path / "a.onnx"))
    (tmp_path / "a.onnx").write_bytes(
        content.replace(b"resnetv24_stage1_conv0_weight", b"resnetv24_stage1_conv0_weighs")
    )
    with pytest.raises(
        InputError, match="1 missing .stage1_conv0_weight.; 1 unexpected .stage1_conv0_weighs."
    ):
        load_pretrained(net.backbone, str(tmp_path / "a.onnx"))


def test_a_cached_file_of_another_mxnet(zoo, net, tmp_path, monkeypatch):
    """Versions of MXNet list other hashes for one network; any that the file's own name vouches for
    will do.
    """
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    (tmp_path / "models").mkdir()
    save_structural(zoo, tmp_path / "weights.params")
    sha1 = hashlib.sha1((tmp_path / "weights.params").read_bytes()).hexdigest()
    cached = tmp_path / "models" / (f"resnet18_v2-{sha1[:8]}.params")
    (tmp_path / "weights.params").rename(cached)
    assert load_pretrained(net.backbone, "zoo")["file"] == cached.name
    cached.write_bytes(cached.read_bytes() + b"x")
    with pytest.raises(InputError, match="can't be downloaded"):
        load_pretrained(net.backbone, "zoo")


def test_none_changes_nothing(net):
    before = net.backbone.stage1[0].conv1.weight.data().asnumpy()
    assert load_pretrained(net.backbone, "none") == {"source": "none"}
    assert_array_equal(net.backbone.stage1[0].conv1.weight.data().asnumpy(), before)


def test_zoo_takes_the_file_in_the_cache(zoo, net, tmp_path, monkeypatch):
    """With the name and the SHA-1 that the zoo's own table gives, no network is needed."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    save_structural(zoo, tmp_path / "weights.params")
    sha1 = hashlib.sha1((tmp_path / "weights.params").read_bytes()).hexdigest()
    monkeypatch.setitem(model_store._model_sha1, "resnet18_v2", sha1)
    (tmp_path / "models").mkdir()
    (tmp_path / "weights.params").rename(tmp_path / "models" / (f"resnet18_v2-{sha1[:8]}.params"))
    assert load_pretrained(net.backbone, "zoo")["file"] == f"resnet18_v2-{sha1[:8]}.params"
    assert_array_equal(
        net.backbone.stem[1].weight.data().asnumpy(), zoo.features[1].weight.data().asnumpy()
    )


def test_a_failed_download_says_what_to_do(net, tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    with pytest.raises(
        InputError,
        match=r"resnet18_v2-[0-9a-f]{8}.params \(SHA-1 [0-9a-f]{40}\) or resnet18-v2-7.onnx "
        r"\(SHA-256 [0-9a-f]{64}\), unzipped, into .*models; or give --pretrained FILE",
    ):
        load_pretrained(net.backbone, "zoo")


def test_weights_of_another_network(net, tmp_path):
    other = vision.resnet34_v2()
    other.initialize()
    other(nd.zeros((1, 3, 64, 64)))
    other.save_parameters(str(tmp_path / "w.params"))
    before = [parameter.data().asnumpy() for parameter in net.collect_params().values()]
    with pytest.raises(
        InputError, match=r"w.params don't fit the network: \d+ unexpected \(features.5.2.bn1.gamma"
    ):
        load_pretrained(net.backbone, str(tmp_path / "w.params"))
    for parameter, value in zip(net.collect_params().values(), before):
        assert_array_equal(parameter.data().asnumpy(), value)


def dense():
    block = mx.gluon.nn.Dense(2, in_units=3)
    block.initialize(mx.init.One())
    return block, block._collect_params_with_prefix()


def test_faults_are_listed_and_nothing_is_changed():
    block, parameters = dense()
    with pytest.raises(
        InputError,
        match=r"f.params don't fit the network: 1 missing \(bias\); 1 unexpected \(scale\); "
        r"1 wrongly shaped \(weight \(3, 2\) instead of \(2, 3\)\)",
    ) as raised:
        set_parameters(parameters, {"weight": np.zeros((3, 2)), "scale": np.zeros(1)}, "f.params")
    assert (raised.value.missing, raised.value.unexpected, raised.value.wrongly_shaped) == (
        ["bias"],
        ["scale"],
        ["weight"],
    )
    assert_allclose(block.weight.data().asnumpy(), np.ones((2, 3)))


@pytest.mark.parametrize(
    "value, what", [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (1, "int64")]
)
def test_what_is_no_number_is_refused(value, what):
    block, parameters = dense()
    with pytest.raises(
        InputError, match=f"1 not finite floating-point numbers \\(bias {what}\\)"
    ) as raised:
        set_parameters(
            parameters, {"weight": np.zeros((2, 3)), "bias": np.array([1, value])}, "f.params"
        )
    assert raised.value.not_numbers == ["bias"]
    assert_allclose(block.weight.data().asnumpy(), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("network", ["float32", "float64"])
def test_numbers_take_the_dtype_of_the_network(dtype, network):
    block, parameters = dense()
    block.cast(network)
    values = {
        "weight": np.random.normal(size=(2, 3)).astype(dtype),
        "bias": np.random.normal(size=2).astype(dtype),
    }
    set_parameters(parameters, values, "f.params")
    for name, parameter in parameters.items():
        assert parameter.data().dtype == np.dtype(network)
        assert_array_equal(parameter.data().asnumpy(), values[name].astype(network))


def test_parameters_are_created_where_they_are_not_yet():
    values = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    fresh = mx.gluon.nn.Dense(2, in_units=3)
    set_parameters(fresh._collect_params_with_prefix(), values, "f.params", [mx.cpu(0), mx.cpu(1)])
    assert fresh.weight.list_ctx() == [mx.cpu(0), mx.cpu(1)]
    deferred = mx.gluon.nn.Dense(2)
    deferred.initialize(ctx=mx.cpu(1))
    deferred.weight.shape = (2, 3)
    set_parameters(deferred._collect_params_with_prefix(), values, "f.params")
    assert deferred.weight.list_ctx() == [mx.cpu(1)]
    for block in (fresh, deferred):
        assert_array_equal(block.weight.list_data()[-1].asnumpy(), values["weight"])
