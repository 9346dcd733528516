import hashlib

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from mxnet.gluon.model_zoo import model_store, vision
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr.errors import InputError
from mlr.weights import load_pretrained, materialize, set_parameters, sha256_of


@pytest.fixture
def zoo():
    net = vision.resnet18_v2(prefix="resnetv24_")
    net.initialize(mx.init.Xavier())
    net(nd.zeros((1, 3, 64, 64)))
    nd.waitall()                              # on mxnet-mkl, saving races with the forward pass, which changes layouts in place
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


def save_tagged(zoo, path):
    """As `Module.save_checkpoint` and `export` write it."""
    nd.save(str(path), {("aux:" if "running" in name else "arg:") + name: parameter.data() for name, parameter in zoo.collect_params().items()})


@pytest.mark.parametrize("save", [save_structural, save_prefixed, save_tagged])
def test_every_naming_of_the_zoos_file(zoo, net, tmp_path, save):
    path = tmp_path / "weights.params"
    save(zoo, path)
    record = load_pretrained(net, str(path))
    assert record == {"source": str(path), "file": "weights.params", "sha256": sha256_of(path)}
    images = nd.random.normal(shape=(2, 3, 96, 96))
    # The same operators on the same numbers; float32 through 18 layers.
    assert_allclose(net.backbone(images)[-1].asnumpy(), zoo.features(images).asnumpy(), rtol=1e-4, atol=1e-6)


def test_none_changes_nothing(net):
    before = net.backbone.stage1[0].conv1.weight.data().asnumpy()
    assert load_pretrained(net, "none") == {"source": "none"}
    assert_array_equal(net.backbone.stage1[0].conv1.weight.data().asnumpy(), before)


def test_zoo_takes_the_file_in_the_cache(zoo, net, tmp_path, monkeypatch):
    """With the name and the SHA-1 that the zoo's own table gives, no network is needed."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    save_structural(zoo, tmp_path / "weights.params")
    sha1 = hashlib.sha1((tmp_path / "weights.params").read_bytes()).hexdigest()
    monkeypatch.setitem(model_store._model_sha1, "resnet18_v2", sha1)
    (tmp_path / "models").mkdir()
    (tmp_path / "weights.params").rename(tmp_path / "models" / ("resnet18_v2-%s.params" % sha1[:8]))
    assert load_pretrained(net, "zoo")["file"] == "resnet18_v2-%s.params" % sha1[:8]
    assert_array_equal(net.backbone.stem[1].weight.data().asnumpy(), zoo.features[1].weight.data().asnumpy())


def test_a_failed_download_says_what_to_do(net, tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    with pytest.raises(InputError, match=r"resnet18_v2-[0-9a-f]{8}.params \(SHA-1 [0-9a-f]{40}\) into .*models, or give --pretrained FILE"):
        load_pretrained(net, "zoo")


def test_weights_of_another_network(net, tmp_path):
    other = vision.resnet34_v2()
    other.initialize()
    other(nd.zeros((1, 3, 64, 64)))
    other.save_parameters(str(tmp_path / "w.params"))
    before = [parameter.data().asnumpy() for parameter in net.collect_params().values()]
    with pytest.raises(InputError, match=r"w.params don't fit the network: \d+ unexpected \(features.5.2.bn1.gamma"):
        load_pretrained(net, str(tmp_path / "w.params"))
    for parameter, value in zip(net.collect_params().values(), before):
        assert_array_equal(parameter.data().asnumpy(), value)


def dense():
    block = mx.gluon.nn.Dense(2, in_units=3)
    block.initialize(mx.init.One())
    return block, block._collect_params_with_prefix()


def test_faults_are_listed_and_nothing_is_changed():
    block, parameters = dense()
    with pytest.raises(InputError, match=r"f.params don't fit the network: 1 missing \(bias\); 1 unexpected \(scale\); "
                                         r"1 wrongly shaped \(weight \(3, 2\) instead of \(2, 3\)\)") as raised:
        set_parameters(parameters, {"weight": np.zeros((3, 2)), "scale": np.zeros(1)}, "f.params")
    assert (raised.value.missing, raised.value.unexpected, raised.value.wrongly_shaped) == (["bias"], ["scale"], ["weight"])
    assert_allclose(block.weight.data().asnumpy(), np.ones((2, 3)))


@pytest.mark.parametrize("value, what", [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (1, "int64")])
def test_what_is_no_number_is_refused(value, what):
    block, parameters = dense()
    with pytest.raises(InputError, match=r"1 with values that are no numbers \(bias %s\)" % what) as raised:
        set_parameters(parameters, {"weight": np.zeros((2, 3)), "bias": np.array([1, value])}, "f.params")
    assert raised.value.not_numbers == ["bias"]
    assert_allclose(block.weight.data().asnumpy(), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("network", ["float32", "float64"])
def test_numbers_take_the_dtype_of_the_network(dtype, network):
    block, parameters = dense()
    block.cast(network)
    values = {"weight": np.random.normal(size=(2, 3)).astype(dtype), "bias": np.random.normal(size=2).astype(dtype)}
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
