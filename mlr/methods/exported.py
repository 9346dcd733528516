"""A run as an ONNX model: made of it, kept in the cache, and opened again."""

import hashlib
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Sequence, Tuple
from uuid import uuid4

from mlr import __version__
from mlr.errors import InputError
from mlr.options.option import in_words
from mlr.runtime.output import warn

if TYPE_CHECKING:
    import onnx

    from mlr.data.splits import Splits
    from mlr.methods.method import Method
    from mlr.runs.exported import ExportedRun
    from mlr.runs.folder import Run

# Of the exporter: what it writes of the same run is another file with another number.
EXPORTER = 1
INPUTS = {  # with and without preprocessing in the model
    False: "images (N, 3, S, S), float32, after the preprocessing that is described",
    True: (
        "images (N, H, W, 3), uint8 RGB, of any size: the preprocessing that is described is in "
        "the model"
    ),
}
OF_REGIONS = (
    "ten crops of an image and then its R candidate regions, as AR has them, (10 + R, 3, S, S), "
    "float32, normalised as described, and the objectness of the regions, (R,) float64"
)


MODEL = "model.onnx"  # in a run folder, by which it is answered where there is no MXNet


class Exported(NamedTuple):
    """The content of an .onnx file, and what its output is."""

    content: bytes
    output: str


def onnx_of(
    run: "Run",
    method: "Method",
    parameters: str = "last",
    with_preprocessing: bool = False,
    calibrate: Sequence[Path] = (),
    weights_alone: bool = False,
) -> Exported:
    """Return a run as an ONNX model, whole: what answers like the run.

    with_preprocessing: in the model, whose input are then images of any size. calibrate: the
    data folders to calibrate and measure an 8-bit model on; none for a model in float32.
    weights_alone: have only the weights in 8 bits, which saves size and not time. Raises InputError
    for options that exclude one another, and for data without images to measure on.
    """
    import mxnet as mx

    from mlr.exporting.description import contract, description, output_of
    from mlr.exporting.onnx import add_preprocessing, onnx_model, serialized
    from mlr.methods import load_network

    of_regions = "regions" in method.views
    if with_preprocessing and of_regions:
        raise InputError(
            f"--with-preprocessing is not for {run.folder}, a run of AR: the regions of an image "
            "are found before the model; leave it out"
        )
    net = load_network(run, [mx.cpu()], parameters)
    part, output, meaning = method.exported(net, run.config)
    steps = method.preprocessing(run.config).steps()
    metadata = {**description(run, steps, parameters), **contract(run, parameters)}
    model = onnx_model(part, run.config["preprocessing"]["image_size"], output)
    if calibrate:
        if output != "logits":
            raise InputError(
                f"--int8 is measured by the classes that a network tells, and of {run.folder} "
                "features are exported: leave it out"
            )
        model, metadata["int8"] = quantized_model(run, method, model, calibrate, weights_alone)
    answer = method.add_answer(model, run)
    metadata["input"] = OF_REGIONS if of_regions else INPUTS[with_preprocessing]
    metadata["output"] = output_of(answer or meaning, metadata)
    if with_preprocessing:
        add_preprocessing(model, metadata["preprocessing"])
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    return Exported(serialized(model, texts), metadata["output"])


def cached_export(run: "Run", method: "Method", parameters: str, int8: bool) -> "ExportedRun":
    """Return a run as an .onnx file in the cache, exported there the first time, and again if the
    file is damaged.

    Its name has the SHA-256 of all that it is made of, except the images of the training, on which
    8 bits are calibrated (int8). Raises InputError where these are not there, or it can't be
    written.
    """
    from mlr.runs.exported import ExportedRun
    from mlr.runtime.cache import cache_folder
    from mlr.runtime.files import write_file

    made_of = {
        "exporter": (EXPORTER, __version__, int8),
        "files": run.files_of(parameters),
        "config": run.sha256("config.json"),
        "classes": run.sha256("classes.json"),
        "temperature": run.temperature(parameters),
    }
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"run-{digest}.onnx"
    if path.exists():
        try:
            return ExportedRun(path)
        except InputError as error:
            warn(f"{error}; it is exported again now")
    calibrate = _calibration_folders(run) if int8 else ()
    with redirect_stdout(sys.stderr):  # the standard output is for answers
        content = onnx_of(run, method, parameters, calibrate=calibrate).content
    # a name of its own: another process may export the same run now
    own = path.with_name(f"{path.stem}-{uuid4().hex}.onnx")
    try:
        write_file(own, content)
        os.replace(own, path)
    except OSError as error:
        raise InputError(
            f"can't write the exported run {path}: {error.strerror or error}; name another folder "
            "in MLR_CACHE"
        ) from None
    return ExportedRun(path)


def ship(folder: Path, data: str) -> None:
    """Write the model of a run into its folder, its weights in 8 bits, as that of
    checkpoints/photos was made. data: the folder whose test images say what that costs.
    """
    from mlr.data.drawn import data_folder
    from mlr.methods import method_of, open_run_folder
    from mlr.runtime.files import write_file

    run, calibrate = open_run_folder(folder), [data_folder(data)]
    content = onnx_of(run, method_of(run.config), calibrate=calibrate, weights_alone=True).content
    write_file(run.folder / MODEL, content)


def _calibration_folders(run: "Run") -> List[Path]:
    from mlr.runs.measured_images import training_folders

    folders = training_folders(run.config, "data")
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder}, the folder of the training's images, is not there, and an 8-bit model "
                "is calibrated on these images: export the run once, by mlr export --int8 "
                "--calibrate DIR, and give that file as --run"
            )
    return folders


def quantized_model(
    run: "Run",
    method: "Method",
    model: "onnx.ModelProto",
    folders: Sequence[Path],
    weights_alone: bool = False,
) -> "Tuple[onnx.ModelProto, Dict[str, Any]]":
    """Return the model in 8 bits and, for its metadata, what that changed; print the change, too.

    folders: of the data. Raises InputError for data without images to measure on, or with other
    classes than the run's.
    """
    from mlr.data.splits import fingerprint
    from mlr.exporting.int8 import calibration_images, compared, quantized, with_weights_in_8_bits

    splits = _calibration_splits(run, folders)
    train, (measured, split) = splits["train"], list(splits.items())[-1]
    transform = method.preprocessing(run.config).evaluation()
    sha256 = fingerprint({measured: split})
    if weights_alone:
        (small, used), of = (with_weights_in_8_bits(model), 0), "of weights alone"
    else:
        images = calibration_images(train, transform)
        small, used = quantized(model, images), len(images)
        of = f"calibrated on {used:d} images of {train.source}"
    change = compared(model, small, split, transform)
    print(
        f"int8: accuracy {change['accuracy_int8']:.4f}, float32 "
        f"{change['accuracy_float32']:.4f}, the same class for {100 * change['same_class']:.2f} "
        f"% of {change['images']:d} images of {split.source}"
    )
    print(f"int8: {small.ByteSize() / 1e6:.1f} MB instead of {model.ByteSize() / 1e6:.1f}; {of}")
    return small, {"split": measured, "sha256": sha256, "calibration_images": used, **change}


def _calibration_splits(run: "Run", folders: Sequence[Path]) -> "Splits":
    """Return train, to calibrate on, and the split to measure on: test or, without one, valid."""
    from mlr.data.joined import read_together
    from mlr.data.manifest import folds_of
    from mlr.data.walk import words_on
    from mlr.runs.measured_images import fitted_classes

    trained, fold = run.config["options"], None
    if any(map(folds_of, folders)):
        fold = trained["fold"] or 1
        warn(f"{in_words(folders)} has folds: calibrated without fold {fold}, measured on it")
    found = read_together(folders, trained["labels"], fold)
    if "train" not in found or len(found) < 2:
        raise InputError(
            f"{in_words(folders)} has only the split {', '.join(found)}: int8 is calibrated "
            "on train, and measured on test or valid"
        )
    splits = {name: found[name] for name in ("train", "test" if "test" in found else "valid")}
    for split in splits.values():
        if fitted_classes(run.classes, split):
            raise InputError(
                f"{split.source} has sentiments, but the run was trained on "
                f"{', '.join(run.classes)}: give the folder of the same classes"
            )
    left_out = [row for split in splits.values() for row in split.left_out]
    if left_out:
        print(words_on(left_out))
    return splits
