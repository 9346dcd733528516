"""Row DeepSentiBank: the CaffeNet that names 2,089 adjective noun pairs, its preprocessing, and its weights from other frameworks.

The table's number is of an SVM on the network's outputs, see `mlr.rows.support_vectors`.
"""

import math
import re
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, nn
from mxnet.gluon.data.vision import transforms

from mlr import paper
from mlr.errors import InputError
from mlr.params_file import read_params
from mlr.transforms import random_crop
from mlr.weights import read_npz, read_onnx, set_parameters, sha256_of, verify_checksum

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
WIDTHS = (1, 2, 4, 8, 16)       # what leaves two equal groups of channels in every layer

# conv1_weights, conv1/weight, conv1.weight, conv1_w, conv1_w_0; the classifier has other endings, too: fc8-t, fc8_sentibank.
WEIGHT_NAME = re.compile(r"(conv[1-5]|fc[67]|fc8)(?:(?<=fc8)[-_][\w-]+?)?[_./](weights?|w|biases|bias|b)(?:_0)?")


class LocalResponseNorm(HybridBlock):
    """Caffe's, across channels: x / (knorm + alpha / nsize * (sum of x^2 over nsize channels))^beta, to which MXNet's operator is equal.

    Input and output: (N, C, H, W), float32 only.
    """

    def __init__(self, constants=paper.CAFFE_LRN, **kwargs):
        super().__init__(**kwargs)
        self._constants = constants

    def hybrid_forward(self, F, x):
        return F.LRN(x, **self._constants)


class CaffeNet(HybridBlock):
    """CaffeNet (sentibank.prototxt): AlexNet with two groups in conv2, conv4 and conv5, and pooling before normalisation.

    classes: K. width: divides the channels and units of all layers but the last, 1, 2, 4, 8 or 16; other than 1 is ours, for CPUs.
    image_size: S, 227 for the original's weights, from 64 up for others; the shape of fc6 follows from it.
    Input: images (N, 3, S, S), float32, as `caffe_transform` makes them. Output: logits (N, K). What the original's SVM was fed, these or their
    softmax, is not stated.

    Attributes: `caffe_parameters`, all parameters under Caffe's names, conv1.weight to fc8.bias; and, as of
    `mlr.model.backbone.Backbone`, those of the features, for reading weights: `name_in_zoo`, though the zoo has none of it,
    `structural_parameters` and `prefixed_parameters`.
    """

    def __init__(self, classes=paper.SENTIBANK_CONCEPTS, width=1, image_size=paper.CAFFE_SIZE, **kwargs):
        super().__init__(**kwargs)
        if classes < 2:
            raise InputError("classes must be at least 2, not %s" % classes)
        if width not in WIDTHS:
            raise InputError("width must be one of %s, not %s" % (", ".join(map(str, WIDTHS)), width))

        def convolution(channels, size, stride=1, padding=0, groups=1):
            return nn.Conv2D(channels // width, size, stride, padding, groups=groups, activation="relu")

        def pool():
            return nn.MaxPool2D(3, 2, ceil_mode=True)                      # Caffe rounds sizes up

        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(                                             # (N, C, H, W) of S = 227 after each line
                convolution(96, 11, stride=4), pool(), LocalResponseNorm(),             # (N, 96, 27, 27)
                convolution(256, 5, padding=2, groups=2), pool(), LocalResponseNorm(),  # (N, 256, 13, 13)
                convolution(384, 3, padding=1),                                         # (N, 384, 13, 13)
                convolution(384, 3, padding=1, groups=2),
                convolution(256, 3, padding=1, groups=2), pool(), nn.Flatten(),         # (N, 9216)
                nn.Dense(4096 // width, activation="relu"), nn.Dropout(paper.CAFFE_DROPOUT),
                nn.Dense(4096 // width, activation="relu"), nn.Dropout(paper.CAFFE_DROPOUT))
            self.output = nn.Dense(classes)
        weighted = [layer for layer in (*self.features, self.output) if isinstance(layer, (nn.Conv2D, nn.Dense))]
        self.caffe_parameters = {
            "%s.%s" % (name, kind): getattr(layer, kind) for name, layer in zip(LAYERS, weighted) for kind in ("weight", "bias")}
        self.name_in_zoo, self.image_size = "caffenet", image_size
        self.structural_parameters = self.features._collect_params_with_prefix("features")
        self.prefixed_parameters = {p.name[len(self.prefix):]: p for p in self.structural_parameters.values()}

    def hybrid_forward(self, F, images):
        return self.output(self.features(images))


def caffe_resize(size):
    """Return the edge of the square, in pixels, to which Caffe's preset resizes first: 256 for 227, in proportion for other sizes."""
    return round(size * paper.CAFFE_RESIZE / paper.CAFFE_SIZE)


def caffe_transform(size=paper.CAFFE_SIZE, resize=None, train=False, mean_image=None):
    """Return Caffe's preset: (H, W, 3) uint8 RGB -> (3, size, size) float32 BGR, 0 to 255 less a mean.

    The image is resized to a square of `resize` pixels (default: 256 for 227, in proportion for other sizes), bilinear, its aspect
    ratio lost; then comes the central crop or, to train, a random one that is mirrored every other time. That the authors' images
    were resized bilinear, Caffe's own way, is inferred.
    mean_image: a .npy file of ImageNet's mean image, (3, 256, 256) BGR, which the original subtracts; resized like the image.
    Default: the mean of each channel. Raises InputError for a file that holds no such image, or a resize below the size.
    """
    resize = caffe_resize(size) if resize is None else resize
    if resize < size:
        raise InputError("a crop of %d pixels can't be taken from images that are resized to %d: give a resize of at least the size" % (
            size, resize))
    mean = mx.nd.array(paper.CAFFE_MEAN) if mean_image is None else _read_mean_image(mean_image, resize)
    crops = [transforms.CenterCrop(size)]
    if train:
        crops = [random_crop(size), transforms.RandomFlipLeftRight()]
    return transforms.Compose([
        transforms.Resize((resize, resize)),
        nn.Lambda(lambda image: image.astype("float32").flip(axis=2) - mean),      # RGB -> BGR
        *crops,
        nn.Lambda(lambda image: image.transpose((2, 0, 1))),
    ])


def _read_mean_image(path, resize):
    """Return a mean image (resize, resize, 3) BGR, an NDArray."""
    shape = (3, paper.CAFFE_RESIZE, paper.CAFFE_RESIZE)
    if not Path(path).is_file():
        raise InputError("there is no mean image %s" % path)
    try:
        mean = np.load(str(path), allow_pickle=False)
    except Exception as error:  # of a damaged file NumPy raises nearly everything
        raise InputError("mean image %s is no .npy file, a damaged one, or holds pickled objects, which are not read (%s)" % (
            path, error)) from None
    if not isinstance(mean, np.ndarray) or mean.shape != shape or mean.dtype.kind not in "fiu" or not np.isfinite(mean).all():
        raise InputError("mean image %s holds %s: expected finite numbers of shape %s, channels B, G, R, as Caffe's blobproto_to_array makes "
                         "it of imagenet_mean.binaryproto" % (path, _described(mean), shape))
    return mx.image.imresize(mx.nd.array(mean.transpose(1, 2, 0), dtype="float32"), resize, resize)


def _described(loaded):
    return "%s of shape %s" % (loaded.dtype, loaded.shape) if isinstance(loaded, np.ndarray) else "several arrays"


def load_caffe_weights(net, path):
    """Put weights from elsewhere into a `CaffeNet` whose parameters have their shapes; return a record of what was loaded.

    path: an .npz file, of arrays such as conv1_weights, conv1_biases (also with / or . between, singular, or w and b); an .onnx file
    with the names of the ONNX model zoo's CaffeNet, conv1_w_0 to fc8_b_0; or a .params file of this network. Kernels are OIHW, as in
    Caffe, or HWIO, as in TensorFlow, whose fc6 then reads a map as (H, W, C); both is told by the shapes, and InputError raised where
    they fit both. Channels of images are B, G, R in all.

    The classifier is left out where it has not the network's number of outputs, or the file has none: the record's `classifier` says so.
    Else all or nothing is set. Raises ParametersError, which names what is missing, unexpected or wrongly shaped, all in Caffe's names,
    and InputError for files that can't be read. Nothing is ever unpickled.
    """
    path, parameters = Path(path), net.caffe_parameters
    verify_checksum(path)
    if path.suffix.lower() == ".params":
        caffe_names = {parameter: name for name, parameter in parameters.items()}
        own = {name: caffe_names[parameter] for name, parameter in net._collect_params_with_prefix().items()}
        arrays = {own.get(name, name): array for name, array in read_params(path).items()}
    elif path.suffix.lower() in (".npz", ".npy", ".onnx"):
        arrays = read_onnx(path) if path.suffix.lower() == ".onnx" else read_npz(path)
        arrays = _in_gluons_layout(_under_caffes_names(arrays, path), parameters, path)
    else:
        raise InputError("%s: weights are read from .npz, .onnx or .params files; a .caffemodel has to be converted first, where Caffe is "
                         "installed, with numpy.savez, to arrays conv1_weights, conv1_biases and so on" % path)
    classifier = any(name.startswith("fc8.") and array.shape[:1] == parameters["fc8.bias"].shape for name, array in arrays.items())
    if not classifier:
        arrays, parameters = ({name: value for name, value in named.items() if not name.startswith("fc8.")} for named in (arrays, parameters))
    set_parameters(parameters, arrays, path)
    return {"source": str(path), "file": path.name, "sha256": sha256_of(path), "classifier": classifier}


def _under_caffes_names(arrays, path):
    """Return arrays under the names of `CaffeNet.caffe_parameters`; what has none of these keeps its own."""
    named, origins = {}, {}
    for origin, array in arrays.items():
        match = WEIGHT_NAME.fullmatch(origin)
        if not match and path.suffix.lower() == ".onnx" and array.dtype.kind in "iu":
            continue                                                       # a shape that the graph reshapes to
        name = "%s.%s" % (match[1], "weight" if match[2][0] == "w" else "bias") if match else origin
        if name in named:
            raise InputError("%s holds %s twice, as %s and as %s: remove one" % (path, name, origins[name], origin))
        named[name], origins[name] = array, origin
    return named


def _in_gluons_layout(arrays, parameters, path):
    """Return arrays, under Caffe's names, as (O, I, H, W) and (out, in) wherever they fit that after a transposition."""
    outputs, inputs, *sides = parameters["conv1.weight"].shape
    height_first = "conv1.weight" in arrays and arrays["conv1.weight"].shape == (*sides, inputs, outputs)  # 11 x 11 of 3 channels: no doubt
    transposed = _dense_are_transposed(arrays, parameters, path)
    laid_out = {}
    for name, array in arrays.items():
        if height_first and name.startswith("conv") and array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif transposed and name.startswith("fc") and array.ndim == 2:
            array = array.T
        laid_out[name] = array
    fc6 = laid_out.get("fc6.weight")
    if height_first and fc6 is not None and fc6.shape == parameters["fc6.weight"].shape:
        channels = parameters["conv5.weight"].shape[0]
        side = math.isqrt(fc6.shape[1] // channels)
        laid_out["fc6.weight"] = fc6.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(fc6.shape)
    return laid_out


def _dense_are_transposed(arrays, parameters, path):
    """Tell whether dense layers are (in, out), by the sizes of all, as some are square. The biases tell how many outputs each has."""
    found = [(arrays[name].shape, (len(arrays[bias]), parameters[name].shape[1]))
             for name, bias in ((layer + ".weight", layer + ".bias") for layer in LAYERS if layer.startswith("fc"))
             if name in arrays and bias in arrays and arrays[bias].ndim == 1]
    straight, transposed = (all(shape == wanted[::order] for shape, wanted in found) for order in (1, -1))
    if found and straight and transposed:
        raise InputError("the dense layers of %s are square, so that it can't be told whether they are (out, in) or (in, out): "
                         "load it into a network for another image size, or of another width" % path)
    return transposed
