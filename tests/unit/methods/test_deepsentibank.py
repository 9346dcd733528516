import re
import subprocess
import sys
from types import SimpleNamespace

import cv2
import mxnet as mx
import numpy as np
import onnx
import pytest
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

from mlr.data.transforms import caffe_transform
from mlr.errors import InputError
from mlr.formats.params import write_params
from mlr.methods import METHODS
from mlr.methods.deepsentibank import machine_of
from mlr.model.caffe_weights import load_caffe_weights
from mlr.model.caffenet import CaffeNet
from mlr.model.lrn import LocalResponseNorm
from mlr.model.parameters import ParametersError
from mlr.model.pretrained import load_pretrained
from mlr.runtime.hashing import sha256_of
from mlr.training import fitting

# The layers once more, in NumPy and float64: groups of each convolution, its stride and padding,
# and what follows it.
CONVOLUTIONS = {
    "conv1": (1, 4, 0, "pool norm"),
    "conv2": (2, 1, 2, "pool norm"),
    "conv3": (1, 1, 1, ""),
    "conv4": (2, 1, 1, ""),
    "conv5": (2, 1, 1, "pool"),
}
CAFFE, TENSORFLOW = "nchwij,ocij->nohw", "nchwij,ijco->nohw"


def convolve(x, weight, groups=1, stride=1, padding=0, layout=CAFFE):
    """Correlate x (N, C, H, W) with kernels that take a group's part of the channels each."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    outputs, size = (0, weight.shape[2]) if layout == CAFFE else (3, weight.shape[0])
    windows = sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.concatenate(
        [
            np.einsum(layout, part, kernels, optimize=True)
            for part, kernels in zip(
                np.split(windows, groups, axis=1), np.split(weight, groups, axis=outputs)
            )
        ],
        axis=1,
    )


def pool(x):
    """Take the maximum of 3 x 3 at every other place; a last window may reach beyond the edge, as
    Caffe rounds sizes up.
    """
    rows, columns = (range(0, max(1, length - 1), 2) for length in x.shape[2:])
    return np.stack(
        [
            np.stack([x[:, :, i : i + 3, j : j + 3].max(axis=(2, 3)) for j in columns], -1)
            for i in rows
        ],
        -2,
    )


def neighbours(x):
    """Sum over five channels around each."""
    return sum(
        np.pad(x, ((0, 0), (2, 2), (0, 0), (0, 0)))[:, shift : shift + x.shape[1]]
        for shift in range(5)
    )


def numpy_network(arrays, images, layout=CAFFE):
    """Return logits. arrays: under Caffe's names, dense ones (in, out) and fed (H, W, C) where the
    layout is TensorFlow's.
    """
    x = images.astype(float)
    for name, (groups, stride, padding, after) in CONVOLUTIONS.items():
        x = convolve(x, arrays[name + ".weight"].astype(float), groups, stride, padding, layout)
        x = np.maximum(x + arrays[name + ".bias"][:, None, None], 0)
        x = pool(x) if "pool" in after else x
        x = x / (1 + 1e-4 / 5 * neighbours(x**2)) ** 0.75 if "norm" in after else x
    x = (x if layout == CAFFE else x.transpose(0, 2, 3, 1)).reshape(len(x), -1)
    for name in ("fc6", "fc7", "fc8"):
        weight = arrays[name + ".weight"]
        x = x @ (weight.T if layout == CAFFE else weight) + arrays[name + ".bias"]
        x = x if name == "fc8" else np.maximum(x, 0)
    return x


def network(size=100, classes=5, width=8):
    """A small CaffeNet whose parameters have their shapes; at 100 px its last map is 2 x 2, so that
    the order of flattening counts.
    """
    net = CaffeNet(classes, width)
    net.initialize(mx.init.Xavier())
    net(nd.zeros((1, 3, size, size)))
    nd.waitall()
    return net


def random_arrays(net, layout=CAFFE, transposed=None):
    """Return random weights {Caffe's name: array} of the network's sizes, in the layout of one
    framework.
    """
    arrays = {}
    for name, parameter in net.caffe_parameters.items():
        deviation = 0.1 if name.endswith("bias") else np.prod(parameter.shape[1:]) ** -0.5
        array = np.random.normal(0, deviation, parameter.shape).astype("float32")
        if layout == TENSORFLOW and array.ndim == 4:
            array = np.random.normal(
                0, deviation, parameter.shape[2:] + parameter.shape[1::-1]
            ).astype("float32")
        if (layout == TENSORFLOW if transposed is None else transposed) and array.ndim == 2:
            array = np.random.normal(0, deviation, parameter.shape[::-1]).astype("float32")
        arrays[name] = array
    return arrays


def some_images(size, count=2):
    return np.random.uniform(-120, 150, (count, 3, size, size)).astype("float32")


def values(net):
    return {name: parameter.data().asnumpy() for name, parameter in net.caffe_parameters.items()}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("shape", [(2, 7, 3, 4), (1, 24, 9, 9), (2, 3, 4, 4)])
def test_normalisation_is_caffes(shape, hybridize):
    """Values of the size of real maps, at which alpha counts; gradient by hand, which couples the
    channels.
    """
    x, speaker = np.random.normal(0, 100, shape), np.random.normal(size=shape)
    layer, given = LocalResponseNorm(), nd.array(x)
    if hybridize:
        layer.hybridize(static_alloc=True, static_shape=True)
    given.attach_grad()
    with autograd.record():
        result = layer(given)
    result.backward(nd.array(speaker))
    scale = 1 + 1e-4 / 5 * neighbours(x**2)
    # float32, a power and a sum of five
    assert_allclose(result.asnumpy(), x / scale**0.75, rtol=2e-6, atol=1e-6)
    gradient = speaker * scale**-0.75 - 2 * 1e-4 / 5 * 0.75 * x * neighbours(
        speaker * x * scale**-1.75
    )
    # float32, a difference of two such
    assert_allclose(given.grad.asnumpy(), gradient, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("hybridize", [False, True])
def test_grouped_convolution(hybridize):
    """The gradient of a linear operation is the operation on unit vectors."""
    layer = nn.Conv2D(
        4,
        3,
        padding=1,
        groups=2,
        in_channels=6,
        weight_initializer=mx.init.Normal(1),
        use_bias=False,
    )
    layer.initialize()
    if hybridize:
        layer.hybridize(static_alloc=True, static_shape=True)
    x, speaker = np.random.normal(size=(2, 6, 5, 4)), np.random.normal(size=(2, 4, 5, 4))
    given = nd.array(x)
    given.attach_grad()
    with autograd.record():
        result = layer(given)
    result.backward(nd.array(speaker))
    weight = layer.weight.data().asnumpy().astype(float)
    # float32, sums of 27 products
    assert_allclose(result.asnumpy(), convolve(x, weight, 2, padding=1), rtol=1e-5, atol=1e-5)

    def along(operation, shape):
        units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
        return np.reshape([(operation(unit) * speaker).sum() for unit in units], shape)

    assert_allclose(
        layer.weight.grad().asnumpy(),
        along(lambda w: convolve(x, w, 2, padding=1), weight.shape),
        rtol=1e-5,
        atol=1e-5,
    )
    assert_allclose(
        given.grad.asnumpy(),
        along(lambda unit: convolve(unit, weight, 2, padding=1), x.shape),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("size", [64, 100, 227])
def test_the_whole_network_is_that_in_numpy(size, hybridize):
    net = network(size)
    for name, array in random_arrays(net).items():
        net.caffe_parameters[name].set_data(nd.array(array))
    if hybridize:
        net.hybridize(static_alloc=True, static_shape=True)
    images = some_images(size)
    expected = numpy_network(values(net), images)
    # float32 through eight layers, against float64.
    assert_allclose(
        net(nd.array(images)).asnumpy(), expected, rtol=1e-4, atol=1e-4 * abs(expected).max()
    )


def test_shapes_are_those_of_the_prototxt():
    net = CaffeNet()
    net.infer_shape(nd.zeros((1, 3, 227, 227)))
    assert {
        name: parameter.shape
        for name, parameter in net.caffe_parameters.items()
        if name.endswith("weight")
    } == {
        "conv1.weight": (96, 3, 11, 11),
        "conv2.weight": (256, 48, 5, 5),
        "conv3.weight": (384, 256, 3, 3),
        "conv4.weight": (384, 192, 3, 3),
        "conv5.weight": (256, 192, 3, 3),
        "fc6.weight": (4096, 9216),
        "fc7.weight": (4096, 4096),
        "fc8.weight": (2089, 4096),
    }
    # 60,965,224 with ImageNet's 1,000 classes.
    assert (
        sum(np.prod(parameter.shape) for parameter in net.collect_params().values())
        == 60965224 + 1089 * 4097
    )


def test_width_divides_all_layers_but_the_last():
    shapes = {
        name: parameter.shape
        for name, parameter in network(64, classes=7, width=16).caffe_parameters.items()
    }
    assert (
        shapes["conv1.bias"],
        shapes["conv4.weight"],
        shapes["fc6.weight"],
        shapes["fc8.weight"],
    ) == ((6,), (24, 12, 3, 3), (256, 16), (7, 256))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((5, 3), "width must be one of 1, 2, 4, 8, 16, not 3"),
        ((1,), "classes must be at least 2, not 1"),
    ],
)
def test_arguments_that_can_not_be(arguments, message):
    with pytest.raises(InputError, match=message):
        CaffeNet(*arguments)


def test_it_trains_with_dropout_as_a_static_graph():
    net = network(64, classes=2, width=16)
    net.hybridize(static_alloc=True, static_shape=True)
    images, labels = some_images(64, 8), np.arange(8) % 2
    images[labels == 1] += 60
    images, labels = nd.array(images), nd.array(labels)
    trainer, loss, losses = (
        gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3}),
        gluon.loss.SoftmaxCrossEntropyLoss(),
        [],
    )
    with autograd.record():
        first, second = net(images).asnumpy(), net(images).asnumpy()
    assert abs(first - second).max() > 1e-3, "dropout is at rest in training"
    # and only there
    assert_array_equal(net(images).asnumpy(), net(images).asnumpy())
    for _ in range(40):
        with autograd.record():
            total = loss(net(images), labels)
        total.backward()
        trainer.step(len(images))
        losses.append(total.mean().asscalar())
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])


def test_own_files_load_back(tmp_path):
    net, other = network(), network()
    path = str(tmp_path / "a.params")
    net.save_parameters(path)
    assert {"features.0.weight", "features.3.bias", "output.weight"} < set(nd.load(path))
    other.load_parameters(path)
    images = nd.array(some_images(100))
    assert_array_equal(other(images).asnumpy(), net(images).asnumpy())


@pytest.mark.parametrize("save", ["save_parameters", "prefixed"])
def test_features_load_as_those_of_any_network(tmp_path, save):
    """As of a CaffeNet that was trained on other classes, in both namings of Gluon."""
    trained, net, path = network(classes=9), network(), str(tmp_path / "a.params")
    trained.save_parameters(path) if save == "save_parameters" else trained.collect_params().save(
        path
    )
    load_pretrained(net, path)
    images = nd.array(some_images(100))
    assert_array_equal(net.features(images).asnumpy(), trained.features(images).asnumpy())


# Preprocessing


def picture(height, width):
    """A picture without symmetry: each place has another colour."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [rows * 255 // height, columns * 255 // width, (rows + 2 * columns) % 256], axis=2
    ).astype(np.uint8)


@pytest.mark.parametrize("size, resize", [(227, 256), (64, 72)])
def test_preprocessing(size, resize):
    pixels = picture(150, 200)
    expected = cv2.resize(pixels, (resize, resize)).astype(np.float32)
    margin = (resize - size) // 2
    expected = expected[margin : margin + size, margin : margin + size, ::-1] - np.float32(
        [104, 117, 123]
    )
    result = caffe_transform(size)(nd.array(pixels, dtype="uint8"))
    assert result.dtype == np.float32
    # whole numbers: exact
    assert_array_equal(result.asnumpy(), expected.transpose(2, 0, 1))


def test_preprocessing_to_train_crops_and_mirrors_at_random():
    pixels = picture(40, 50)
    whole = cv2.resize(pixels, (72, 72)).astype(np.float32)[:, :, ::-1] - np.float32(
        [104, 117, 123]
    )
    transform, seen = caffe_transform(64, train=True), set()
    for _ in range(60):
        result = transform(nd.array(pixels, dtype="uint8")).asnumpy().transpose(1, 2, 0)
        assert result.shape == (64, 64, 3)
        found = [
            (top, left, mirrored)
            for mirrored in (False, True)
            for top in range(9)
            for left in range(9)
            if np.array_equal(
                result[:, ::-1] if mirrored else result, whole[top : top + 64, left : left + 64]
            )
        ]
        assert len(found) == 1, "not one crop of the image"
        seen.update(found)
    tops, lefts, mirrored = map(set, zip(*seen))
    assert (
        min(tops) < 2
        and max(tops) > 6
        and min(lefts) < 2
        and max(lefts) > 6
        and mirrored == {False, True}
    )


@pytest.mark.parametrize("size, resize", [(227, 256), (64, 72)])
def test_preprocessing_with_a_mean_image(tmp_path, size, resize):
    mean = np.random.uniform(90, 130, (3, 256, 256))
    np.save(tmp_path / "mean.npy", mean)
    pixels = picture(256, 256)
    scaled = cv2.resize(mean.transpose(1, 2, 0).astype(np.float32), (resize, resize))
    margin = (resize - size) // 2
    expected = (cv2.resize(pixels, (resize, resize))[:, :, ::-1] - scaled)[
        margin : margin + size, margin : margin + size
    ]
    result = caffe_transform(size, mean_image=tmp_path / "mean.npy")(
        nd.array(pixels, dtype="uint8")
    )
    # float32 of two builds of OpenCV
    assert_allclose(result.asnumpy(), expected.transpose(2, 0, 1), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no mean image .*mean.npy"),
        (
            np.zeros((256, 256, 3)),
            r"mean.npy holds float64 of shape \(256, 256, 3\): expected .*\(3, 256, 256\)",
        ),
        (np.full((3, 256, 256), np.nan), "expected finite numbers"),
        (np.array([{}]), "pickled objects, which are not read"),
        (b"\x93NUMPY damaged", "not a .npy file, is damaged"),
    ],
)
def test_no_mean_image(tmp_path, content, message):
    path = tmp_path / "mean.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(InputError, match=message):
        caffe_transform(mean_image=path)


def test_a_crop_larger_than_the_image():
    with pytest.raises(
        InputError, match="crop of 227 pixels can't be taken from images that are resized to 200"
    ):
        caffe_transform(227, resize=200)


# Weights from elsewhere


def write_npz(path, arrays, form="%s_%s", weight="weights", bias="biases", classifier="fc8"):
    np.savez(
        path,
        **{
            form
            % (
                layer if layer != "fc8" else classifier,
                {"weight": weight, "bias": bias}[kind],
            ): array
            for (layer, kind), array in ((name.split("."), array) for name, array in arrays.items())
        },
    )


def write_onnx(path, arrays):
    """As the ONNX model zoo's: named after Caffe's layers, with the shape that the graph reshapes
    conv5's maps to.
    """
    tensors = [
        onnx.numpy_helper.from_array(
            array, name.replace(".weight", "_w_0").replace(".bias", "_b_0")
        )
        for name, array in arrays.items()
    ]
    tensors.append(onnx.numpy_helper.from_array(np.array([1, 9216]), "OC2_DUMMY_1"))
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([], "CaffeNet", [], [], tensors)), str(path)
    )


def assert_computes(net, arrays, layout=CAFFE):
    images = some_images(100)
    expected = numpy_network(arrays, images, layout)
    # float32 through eight layers
    assert_allclose(
        net(nd.array(images)).asnumpy(), expected, rtol=1e-4, atol=1e-4 * abs(expected).max()
    )


@pytest.mark.parametrize("layout", [CAFFE, TENSORFLOW])
@pytest.mark.parametrize(
    "form, weight, bias, classifier",
    [
        ("%s_%s", "weights", "biases", "fc8-t"),
        ("%s/%s", "weight", "bias", "fc8_t"),
        ("%s.%s", "weight", "bias", "fc8"),
        ("%s_%s", "w", "b", "fc8-sentibank"),
        ("%s/%s", "weights", "biases", "fc8_sentibank_2089"),
    ],
)
def test_npz_of_every_naming(tmp_path, layout, form, weight, bias, classifier):
    net, path = network(), tmp_path / "a.npz"
    arrays = random_arrays(net, layout)
    write_npz(path, arrays, form, weight, bias, classifier)
    assert load_caffe_weights(net, str(path)) == {
        "source": str(path),
        "file": "a.npz",
        "sha256": sha256_of(path),
        "classifier": True,
    }
    assert_computes(net, arrays, layout)


@pytest.mark.parametrize("transposed", [False, True])
def test_onnx(tmp_path, transposed):
    net, path = network(), tmp_path / "caffenet.onnx"
    arrays = random_arrays(net, transposed=transposed)
    write_onnx(path, arrays)
    assert load_caffe_weights(net, path)["classifier"]
    straight = {
        name: array.T if transposed and array.ndim == 2 else array for name, array in arrays.items()
    }
    assert_computes(net, straight)


def test_own_file_with_its_classifier(tmp_path):
    trained, net, path = network(), network(), tmp_path / "last.params"
    trained.save_parameters(str(path))
    assert load_caffe_weights(net, path)["classifier"]
    for name, value in values(trained).items():
        assert_array_equal(values(net)[name], value)


@pytest.mark.parametrize("save", [write_npz, write_onnx, "params"])
@pytest.mark.parametrize("classes", [9, None])
def test_a_classifier_of_other_classes_is_left_out(tmp_path, save, classes):
    net, trained = network(), network(classes=classes or 5)
    before, arrays, path = (
        values(net),
        random_arrays(trained),
        tmp_path / ("a." + getattr(save, "__name__", "write_params")[6:]),
    )
    if classes is None:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("fc8")}
    if save == "params":
        own = {
            parameter.name: name
            for name, parameter in trained._collect_params_with_prefix().items()
        }
        nd.save(
            str(path),
            {
                own[trained.caffe_parameters[name].name]: nd.array(array)
                for name, array in arrays.items()
            },
        )
    else:
        save(path, arrays)
    assert not load_caffe_weights(net, path)["classifier"]
    for name, value in values(net).items():
        assert_array_equal(value, before[name] if name.startswith("fc8") else arrays[name])


def test_what_does_not_fit_is_named_and_nothing_is_set(tmp_path):
    net, path = network(), tmp_path / "a.npz"
    arrays, before = random_arrays(net), values(net)
    del arrays["conv2.bias"]
    arrays.update(
        {
            "conv3.weight": np.zeros((4, 4, 3, 3), np.float32),
            "conv6.weight": np.zeros(1),
            "fc7.bias": arrays["fc7.bias"] * np.nan,
        }
    )
    write_npz(path, arrays)
    message = (
        r"a.npz don't fit the network: 1 missing \(conv2.bias\); 1 unexpected \(conv6_weights\); "
        r"1 wrongly shaped \(conv3.weight \(4, 4, 3, 3\) instead of \(48, 32, 3, 3\)\); "
        r"1 not finite .* \(fc7.bias NaN"
    )
    with pytest.raises(ParametersError, match=message):
        load_caffe_weights(net, path)
    for name, value in values(net).items():
        assert_array_equal(value, before[name])


def test_weights_for_another_image_size(tmp_path):
    net, path = network(64), tmp_path / "a.npz"
    write_npz(path, random_arrays(network(100)))
    with pytest.raises(
        ParametersError,
        match=r"1 wrongly shaped \(fc6.weight \(512, 128\) instead of \(512, 32\)\)",
    ):
        load_caffe_weights(net, path)


def test_half_a_classifier(tmp_path):
    net, path = network(), tmp_path / "a.npz"
    arrays = random_arrays(net)
    del arrays["fc8.bias"]
    write_npz(path, arrays)
    with pytest.raises(ParametersError, match=r"1 missing \(fc8.bias\)"):
        load_caffe_weights(net, path)


def test_two_classifiers(tmp_path):
    net, path = network(), tmp_path / "a.npz"
    write_npz(path, random_arrays(net))
    with np.load(path) as arrays:
        np.savez(path, **arrays, **{"fc8-t_biases": np.zeros(5)})
    with pytest.raises(
        InputError, match="a.npz holds fc8.bias twice, as fc8_biases and as fc8-t_biases"
    ):
        load_caffe_weights(net, path)


def test_square_layers_tell_nothing(tmp_path):
    """At 159 px fc6 has as many inputs as outputs, and so has fc7."""
    net, path = network(159), tmp_path / "a.npz"
    arrays = random_arrays(net)
    write_npz(path, {name: array for name, array in arrays.items() if not name.startswith("fc8")})
    with pytest.raises(
        InputError, match="dense layers of .*a.npz are square, so their layout may be"
    ):
        load_caffe_weights(net, path)
    # fc8 is not: (5, 512)
    write_npz(path, arrays)
    load_caffe_weights(net, path)
    assert_array_equal(values(net)["fc6.weight"], arrays["fc6.weight"])


def dictionary(arrays):
    """As converters from Caffe keep weights: {layer: {"weights": array, "biases": array}}."""
    layers = {}
    for name, array in arrays.items():
        layer, kind = name.split(".")
        layers.setdefault(layer.replace("fc8", "fc8-t"), {})[
            {"weight": "weights", "bias": "biases"}[kind]
        ] = array
    return layers


@pytest.mark.parametrize("older", [False, True])
def test_a_pickle_is_refused_and_its_error_converts_it(tmp_path, older):
    net, path = network(), tmp_path / "tfdeepsentibank.npy"
    arrays = random_arrays(net, TENSORFLOW)
    layers = dictionary(arrays)
    np.save(
        path,
        {name: [layer["weights"], layer["biases"]] for name, layer in layers.items()}
        if older
        else layers,
    )
    with pytest.raises(
        InputError, match="tfdeepsentibank.npy is not read: .* pickle, which can run any program"
    ) as raised:
        load_caffe_weights(net, path)
    line = re.search("^python (-c .*)$", str(raised.value), re.MULTILINE)[1]
    subprocess.run(f"{sys.executable} {line}", shell=True, check=True)
    assert load_caffe_weights(net, path.with_suffix(".npz"))["classifier"]
    assert_computes(net, arrays, TENSORFLOW)


@pytest.mark.parametrize(
    "content, name, message",
    [
        (None, "a.npz", "a.npz does not exist"),
        (b"text", "a.npz", "a.npz is not a .npz file of plain arrays, or is damaged"),
        ("truncated", "a.npz", "a.npz is not a .npz file"),
        ("object", "a.npz", "Object arrays cannot be loaded"),
        (
            b"",
            "a.caffemodel",
            (
                "a.caffemodel: weights are read from .npz, .onnx or .params files. To convert a "
                ".caffemodel"
            ),
        ),
    ],
)
def test_files_that_hold_no_weights(tmp_path, content, name, message):
    net, path = network(64, width=16), tmp_path / name
    if content == "object":
        np.savez(path, conv1_weights=np.array([{}]))
    elif content == "truncated":
        write_npz(path, random_arrays(net))
        path.write_bytes(path.read_bytes()[:5000])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_caffe_weights(net, path)


class FeaturesOf:
    """A run whose support vector machine is in a file."""

    def __init__(self, path, classes):
        self.path, self.classes = path, classes

    def verified(self, name):
        assert name == "svm.params"
        return self.path


def test_a_machine_of_another_run_is_refused(tmp_path):
    arrays = {
        "mean": np.zeros(4),
        "scale": np.ones(4),
        "intercepts": np.zeros(3),
        "weights": np.ones((3, 4)),
    }
    path = tmp_path / "svm.params"
    write_params(path, arrays)
    machine = machine_of(FeaturesOf(path, ["awe", "fear", "joy"]), 4)
    assert_array_equal(machine.arrays()["weights"], arrays["weights"])
    for classes, width in ((["awe", "fear"], 4), (["awe", "fear", "joy"], 5)):
        with pytest.raises(
            InputError,
            match="^.*svm.params is for 3 classes and features of length 4, which are not the "
            "run's, likely as it comes from another run: restore it from a copy, or train again$",
        ):
            machine_of(FeaturesOf(path, classes), width)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="svm.params"):
        machine_of(FeaturesOf(path, ["awe", "fear"]), 4)
    write_params(path, {**arrays, "scale": np.zeros(4)})
    with pytest.raises(InputError, match="^.*svm.params does not hold a support vector machine"):
        machine_of(FeaturesOf(path, ["awe", "fear", "joy"]), 4)


@pytest.mark.parametrize(
    "features, first, said",
    [
        (
            "fc7",
            True,
            "without weights for the 2,089 concepts the features are the outputs of fc7, in place "
            "of DeepSentiBank's\n",
        ),
        ("fc7", False, ""),
        ("fc8", True, ""),
    ],
)
def test_the_first_worker_says_that_the_features_are_not_the_papers(
    monkeypatch, capsys, features, first, said
):
    fitted = []
    monkeypatch.setattr(fitting, "fit_support_vectors", lambda *given: fitted.append(given))
    training = SimpleNamespace(
        run=SimpleNamespace(config={"features": features}),
        machine=SimpleNamespace(workers=SimpleNamespace(first=first)),
    )
    METHODS["deepsentibank"].fit(training)
    assert capsys.readouterr().out == said
    assert fitted == [(training, "svm.params")]


def test_a_checksum_beside_the_file_is_verified(tmp_path):
    net, path = network(64, width=16), tmp_path / "a.npz"
    write_npz(path, random_arrays(net))
    (tmp_path / "a.npz.sha256").write_text(f"{'0' * 64}  a.npz\n")
    with pytest.raises(InputError, match="a.npz is damaged or changed"):
        load_caffe_weights(net, path)
