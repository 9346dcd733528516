"""python -m mlr.export: write a run's network for programs that don't have this package."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from mlr import cli
from mlr.errors import InputError, RunError
from mlr.runtime.files import Content, write_file
from mlr.runtime.installation import require_mxnet, require_package

if TYPE_CHECKING:
    import onnx
    from mxnet.gluon import HybridBlock

    from mlr.runs.folder import Run

FORMATS = {
    "onnx": (
        "a model of ONNX's opset 17 for batches of any size, with class names and preprocessing "
        "in its metadata"
    ),
    "symbol": "a folder with MXNet's graph and parameters, for gluon.SymbolBlock.imports",
    "npz": "NumPy arrays by the parameters' names, which mlr.import_npz makes the network of again",
    "torch": (
        "a folder for PyTorch, with weights, settings and a module to train on with; "
        "mlr.import_torch makes a run of it again"
    ),
}
ENDINGS = {"onnx": ".onnx", "npz": ".npz"}
INPUTS = {  # with and without preprocessing in the model
    False: "images (N, 3, S, S), float32, after the preprocessing that is described",
    True: (
        "images (N, H, W, 3), uint8 RGB, of any size: the preprocessing that is described is in "
        "the model"
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("export", __doc__)
    cli.add_run(parser, shipped=True)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="onnx",
        help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()) + " (default: onnx)",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="the .onnx or .npz file, or the folder, to write; it must not exist",
    )
    parser.add_argument(
        "--with-preprocessing",
        action="store_true",
        help=(
            "of onnx: have resizing and normalisation in the model, whose input are then images "
            "(N, H, W, 3), uint8 RGB, of any size"
        ),
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help=(
            "of onnx: quantize to 8 bits, a quarter of the size, for processors with VNNI "
            "instructions; needs --calibrate"
        ),
    )
    parser.add_argument(
        "--calibrate",
        metavar="DIR|demo",
        help=(
            "a data folder as of mlr train: up to 256 training images tell the ranges of maps, "
            "and test images (or valid ones) what int8 costs"
        ),
    )
    return parser


def export(options: argparse.Namespace) -> None:
    """Write the network of a run in the format that is asked for."""
    out = Path(options.out)
    check(options, out)
    require_mxnet()
    if options.format == "onnx":
        require_package("onnx", "onnx")
    if options.format == "torch":
        require_package("safetensors.numpy", "safetensors")
    if options.int8:
        require_package("onnxruntime", "onnx")
    import mxnet as mx

    from mlr.exporting.arrays import npz_of
    from mlr.exporting.description import description
    from mlr.exporting.symbol import save_symbol
    from mlr.methods import load_network, method_of, open_run

    run = open_run(options.run)
    method, net = method_of(run.config), load_network(run, [mx.cpu()], options.parameters)
    part, output, meaning = method.exported(net, run.config)
    steps = method.preprocessing(run.config).steps()
    about = description(run, steps, options.parameters)
    if "temperature" in about:
        meaning += ", once the logits are divided by the temperature"
    about["output"] = meaning
    if options.format == "onnx":
        save(out, onnx_bytes(run, part, output, about, options))
    elif options.format == "npz":
        save(out, npz_of(net, run.config, about))
    elif options.format == "torch":
        save_for_pytorch(out, run, net, about)
    else:
        save_symbol(part, run.config["preprocessing"]["image_size"], about, out)
    print(f"{FORMATS[options.format].partition(',')[0]}: {out}\noutput: {meaning}")


def onnx_bytes(
    run: "Run",
    part: "HybridBlock",
    output: str,
    about: Mapping[str, Any],
    options: argparse.Namespace,
) -> bytes:
    """Return the content of the .onnx file. part: the network to export; output: its output's name;
    about: the metadata. Raises InputError where it can't be had in 8 bits.
    """
    from mlr.exporting.onnx import add_preprocessing, onnx_model, serialized

    model = onnx_model(part, run.config["preprocessing"]["image_size"], output)
    metadata: Dict[str, Any] = {**about, "input": INPUTS[options.with_preprocessing]}
    if options.int8:
        if output != "logits":
            raise InputError(
                f"--int8 is measured by the classes that a model tells, but of {run.folder} "
                "features are exported: leave it out"
            )
        model, metadata["int8"] = quantized_model(run, model, options.calibrate)
    if options.with_preprocessing:
        add_preprocessing(model, metadata["preprocessing"])
    return serialized(
        model,
        {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in metadata.items()
        },
    )


def save_for_pytorch(out: Path, run: "Run", net: "HybridBlock", about: Mapping[str, Any]) -> None:
    """Write the folder for PyTorch. about: the description. Raises InputError for a network that
    has no counterpart there.
    """
    from mlr.exporting.pytorch import (
        of_the_run,
        refuse_unknown,
        save_pytorch,
        training_settings,
    )
    from mlr.options.training import options_of
    from mlr.training.loss import inverse_frequency_weights
    from mlr.training.run import new_layers

    refuse_unknown(run)
    options = options_of(run.config)
    class_weights = None
    if options.loss == "class_imbalance":
        class_weights = inverse_frequency_weights(run.training_counts()).tolist()
    multipliers = new_layers(net, options, run.config["pretrained"])
    training = training_settings(options, class_weights, multipliers, net)
    save_pytorch(net, {**about, "training": training, "run": of_the_run(run)}, out)


def quantized_model(
    run: "Run", model: "onnx.ModelProto", data: str
) -> "Tuple[onnx.ModelProto, Dict[str, Any]]":
    """Return the model in 8 bits and what that changed, for the metadata, which is printed, too.

    data: of --calibrate. Raises InputError for data without images to measure on, or of other
    classes.
    """
    from mlr.data.drawn import data_folder
    from mlr.data.manifest import folds_of
    from mlr.data.splits import fingerprint, read_splits
    from mlr.data.walk import words_on
    from mlr.exporting.int8 import calibration_images, compared, quantized
    from mlr.methods import method_of

    folder, trained = data_folder(data), run.config["options"]
    splits = read_splits(folder, trained["labels"], trained["fold"] if folds_of(folder) else None)
    if "train" not in splits or len(splits) < 2:
        raise InputError(
            f"--calibrate {data} has only the split {', '.join(splits)}: int8 is calibrated on "
            "train, and measured on test or valid"
        )
    measured = "test" if "test" in splits else "valid"
    train, split = splits["train"], splits[measured]
    transform = method_of(run.config).preprocessing(run.config).evaluation()
    if split.classes != run.classes:
        raise InputError(
            f"{split.source} has the classes {', '.join(split.classes)}, but the run was trained "
            f"on {', '.join(run.classes)}: give the folder of the same classes"
        )
    left_out = train.left_out + split.left_out
    if left_out:
        print(words_on(left_out))
    sha256 = fingerprint({measured: split})
    images = calibration_images(train, transform)
    small = quantized(model, images)
    change = compared(model, small, split, transform)
    print(
        f"int8: accuracy {change['accuracy_int8']:.4f}, float32 "
        f"{change['accuracy_float32']:.4f}, the same class for {100 * change['same_class']:.2f} "
        f"% of {change['images']:d} images of {split.source}"
    )
    print(
        f"int8: {small.ByteSize() / 1e6:.1f} MB instead of {model.ByteSize() / 1e6:.1f}; "
        f"calibrated on {len(images):d} images of {train.source}"
    )
    return small, {"split": measured, "sha256": sha256, "calibration_images": len(images), **change}


def check(options: argparse.Namespace, out: Path) -> None:
    """Raise InputError, before any work, where options don't go together or the file can't be
    written.
    """
    if options.with_preprocessing and options.format != "onnx":
        raise InputError(
            "--with-preprocessing is of --format onnx: the others hold the network as MXNet has "
            "it; leave it out"
        )
    if options.int8 and options.format != "onnx":
        raise InputError("--int8 is of --format onnx: leave it out")
    if options.int8 != bool(options.calibrate):
        raise InputError("--int8 and --calibrate go together: give both, or none")
    ending = ENDINGS.get(options.format)
    if ending and out.suffix != ending:
        raise InputError(
            f"--out {out}: the name of a file of --format {options.format} ends with {ending}"
        )
    cli.refuse_existing(out)
    cli.refuse_unwritable("--out", out)


def save(out: Path, content: Content) -> None:
    """Write a file, whole or not at all; content as in `mlr.runtime.files.write_file`. Raises
    RunError, naming it, where that fails.
    """
    try:
        write_file(out, content)
    except OSError as error:
        raise RunError(
            f"{out} can't be written, likely for want of room: {error.strerror or error}"
        ) from None


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), export, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
