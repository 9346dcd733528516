"""Classifiers that predict with ONNX Runtime: a model of `mlr export`, without MXNet."""

import os
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from mlr.data.preprocessing import Preprocessing
from mlr.data.resizing import resized
from mlr.errors import InputError, shown
from mlr.formats.onnx import DEEPEST, IMAGES, LOGITS, OBJECTNESS, PROBABILITIES, REMEDY
from mlr.inference.classifier import Classifier, finite
from mlr.inference.regions import Crops, RegionCrops, settings_of
from mlr.runtime.context import devices_in
from mlr.runtime.cpu import sums_8_bits_exactly
from mlr.runtime.installation import require_package
from mlr.runtime.output import warn

if TYPE_CHECKING:
    from mlr.runs.exported import ExportedRun

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PIXELS = "tensor(uint8)"  # the input type of a model that contains its preprocessing
ERRORS_ALONE = 3  # the log level at which ONNX Runtime logs errors only


class Head(NamedTuple):
    """The part of a model that Grad-CAM needs: the nodes from the deepest map to the logits, their
    constants, the names of the other arrays that they read and write, and a session that returns
    these arrays.
    """

    nodes: List[Any]
    constants: Dict[str, np.ndarray]
    asked: List[str]
    session: Any


class OnnxClassifier(Classifier):
    """The softmax of the logits of an ONNX model. Attribute: `session`, of ONNX Runtime."""

    engine = "onnx"

    def __init__(self, session: Any, preprocessing: Preprocessing, run: "ExportedRun") -> None:
        super().__init__(preprocessing)
        self.session, self.run = session, run
        self.engine = "onnx-int8" if "int8" in run.about else "onnx"
        self._of_pixels = session.get_inputs()[0].type == PIXELS

    def seen(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """Return the model's input for an image, (H, W, 3) uint8 RGB."""
        if self._of_pixels:  # the model's own resizing then leaves the image as it is
            return resized(pixels, self.preprocessing.steps()["resize"])
        return super().seen(pixels, name)

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        """Return the model's outputs (N, K) for a batch.

        Raises InputError if they are NaN or infinite.
        """
        return self.asked({IMAGES: batch})

    def asked(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the model's outputs (N, K) for {name of an input: array}. Raises InputError if
        they are NaN or infinite.
        """
        (answer,) = self.session.run(None, inputs)
        return finite(answer, str(self.run.path))

    def grad_cam(
        self, images: np.ndarray, classes: Optional[Sequence[int]] = None
    ) -> Tuple[np.ndarray, List[int]]:
        """Return the Grad-CAM maps (N, h, w) of images (N, 3, S, S) float32, and the class number
        of each map. The model must be a multi-level network.

        Raises InputError for an 8-bit model, whose rounding has no gradient, and for a model that
        contains its preprocessing.
        """
        from mlr.viz.onnx_gradients import grad_cam

        nodes, constants, asked, session = self._head
        values = {**constants, **dict(zip(asked, session.run(asked, {IMAGES: images})))}
        if classes is None:
            classes = values[LOGITS].argmax(axis=1).tolist()
        return grad_cam(nodes, values, self.run.about[DEEPEST], LOGITS, classes), list(classes)

    @cached_property
    def _head(self) -> Head:
        """A second session of the model, which also returns the deepest map and all arrays after
        it.
        """
        import onnx

        from mlr.viz.onnx_gradients import nodes_between

        deepest = self.run.about.get(DEEPEST)
        if deepest is None or self._of_pixels:
            raise InputError(
                f"{self.run.path} has no map for Grad-CAM, or was exported with "
                "--with-preprocessing: give the run folder, or a model exported without it"
            )
        nodes = nodes_between(self.run.model.graph, deepest, LOGITS)
        model = onnx.ModelProto()
        model.CopyFrom(self.run.model)
        written = list(
            dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
        )
        constants = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.name in written
        }
        asked = [name for name in written if name and name not in constants]
        shown_already = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name)
            for name in asked
            if name not in shown_already
        )
        session = session_of(model.SerializeToString(), str(self.run.path), "cpu")
        return Head(nodes, constants, asked, session)


class WholeOnnxClassifier(OnnxClassifier):
    """A model that answers with the probabilities themselves."""

    def probabilities(self, seen: Sequence[np.ndarray]) -> np.ndarray:
        """Return the class probabilities (N, K), float64, for the values that `seen` returned."""
        return self.outputs(np.stack(seen)).astype(np.float64)


class RegionsOnnxClassifier(OnnxClassifier):
    """A model of AR. It takes ten crops of an image and the crops of its regions, and fuses the
    answers. Attribute: `regions`, a `mlr.inference.regions.RegionCrops`.
    """

    def __init__(self, session: Any, preprocessing: Preprocessing, run: "ExportedRun") -> None:
        """Raises InputError if the run's file of proposals can't be read."""
        super().__init__(session, preprocessing, run)
        self.regions = RegionCrops(preprocessing.size, **settings_of(run.config["options"]))

    def seen(self, pixels: np.ndarray, name: str) -> Crops:  # type: ignore[override]
        """Return the crops of an image and its regions.

        Raises InputError if there are no proposals for the image, or they belong to another image.
        """
        return self.regions.crops(pixels, name)

    def refuse_without_proposals(self, names: Sequence[str]) -> None:
        """As in `mlr.inference.regions.RegionCrops`."""
        self.regions.refuse_without_proposals(names)

    def probabilities(self, seen: Sequence[Crops]) -> np.ndarray:
        """Return the class probabilities (N, K), float64, for the values that `seen` returned."""
        return np.concatenate([self._answer(crops) for crops in seen]).astype(np.float64)

    def _answer(self, crops: Crops) -> np.ndarray:
        images = map(self.preprocessing.normalized, (*crops.whole, *crops.regions))
        objectness = crops.objectness.astype(np.float64)
        return self.asked({IMAGES: np.stack(list(images)), OBJECTNESS: objectness})


def onnx_classifier(
    run: "ExportedRun", preprocessing: Preprocessing, ctx: Optional[str] = None
) -> OnnxClassifier:
    """Return the classifier for an exported model. ctx: as in `session_of`.

    Raises InputError if the model's inputs and outputs are not those that `mlr export` gives it, or
    if ONNX Runtime can't run it.
    """
    session = session_of(run.content, str(run.path), ctx)
    # a model of which only the weights have 8 bits doesn't quantize its maps, and sums in float32
    maps_in_8_bits = any(node.op_type == "QuantizeLinear" for node in run.model.graph.node)
    on_cpu = session.get_providers()[0] == CPU
    if maps_in_8_bits and on_cpu and not sums_8_bits_exactly():
        warn(
            f"{run.path}: this processor has no VNNI, so it clips large sums in 8 bits and the "
            "probabilities are wrong by more than rounding: use the model in float32"
        )
    size, classes, named = preprocessing.size, len(run.classes), str(run.path)
    inputs = {value.name: (value.type, *value.shape[1:]) for value in session.get_inputs()}
    images = inputs.pop(IMAGES, ())
    outputs = [(value.name, *value.shape[1:]) for value in session.get_outputs()]
    taken = ("tensor(float)", 3, size, size), (PIXELS, "H", "W", 3)
    if images not in taken or outputs not in ([(LOGITS, classes)], [(PROBABILITIES, classes)]):
        raise InputError(
            f"{named} takes {images or 'no images'} and returns {outputs}, which does not match "
            f"its metadata: {REMEDY}"
        )
    if not inputs:
        kind = OnnxClassifier if outputs[0][0] == LOGITS else WholeOnnxClassifier
        return kind(session, preprocessing, run)
    if inputs != {OBJECTNESS: ("tensor(double)",)} or images != taken[0]:
        raise InputError(
            f"{named} also takes the input {', '.join(map(shown, inputs))}, which mlr does not "
            f"know: {REMEDY}"
        )
    return RegionsOnnxClassifier(session, preprocessing, run)


def session_of(content: bytes, named: str, ctx: Optional[str] = None) -> Any:
    """Return a session of ONNX Runtime for a model, with as many threads as MXNet would use.

    named: the model's name in errors. ctx: one device, as in --ctx (default: the first GPU if ONNX
    Runtime sees one, else the CPU). Raises InputError if the device does not exist or ONNX Runtime
    can't run the model.
    """
    runtime = require_package("onnxruntime", "onnxruntime", f"predicting with {named}")
    providers, asked = providers_of(ctx, runtime)
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    # ONNX Runtime starts as many threads as it is told, and hangs with tens of thousands.
    threads = max(1, int(os.environ["OMP_NUM_THREADS"]))
    options.intra_op_num_threads = min(threads, os.cpu_count() or 1)
    try:
        session = runtime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no other common class
        reason = shown(str(error).partition("\n")[0])
        raise InputError(f"ONNX Runtime can't run {named} ({reason}): {REMEDY}") from None
    if asked and CUDA not in session.get_providers():
        raise InputError(
            f"{ctx} can't be used: onnxruntime-gpu is installed, but its CUDA provider doesn't "
            "load, likely because the CUDA and cuDNN that it was built for are missing: install "
            "them, or use --ctx cpu"
        )
    return session


def providers_of(ctx: Optional[str], runtime: ModuleType) -> Tuple[List[Any], bool]:
    """Return ONNX Runtime's providers for a text of --ctx, and whether the text asks for a GPU.

    Raises InputError for several devices, and for a GPU without onnxruntime-gpu.
    """
    there = CUDA in runtime.get_available_providers()
    if ctx is None:
        return [CUDA, CPU] if there else [CPU], False
    devices = devices_in(ctx)
    if len(devices) > 1:
        raise InputError(
            f'ONNX Runtime predicts on one device only, but --ctx names several, "{ctx}": give one '
            "of them"
        )
    ((kind, number),) = devices
    if kind == "cpu":
        return [CPU], False
    if not there:
        raise InputError(
            f"gpu({number}) is not there: this ONNX Runtime {runtime.__version__} has no CUDA "
            "provider. Use --ctx cpu; or, if the machine has an NVIDIA GPU and its driver: pip "
            "uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    return [(CUDA, {"device_id": number}), CPU], True
