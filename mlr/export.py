"""python -m mlr.export: write a run's network for programs that don't have this package."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional

from mlr import cli
from mlr.errors import InputError, RunError
from mlr.runtime.files import Content, write_file
from mlr.runtime.installation import require_mxnet, require_package

if TYPE_CHECKING:
    from mxnet.gluon import HybridBlock

    from mlr.runs.folder import Run

FORMATS = {
    "onnx": (
        "a model of ONNX's opset 17 for batches of any size, with class names and preprocessing "
        "in its metadata"
    ),
    "symbol": "a folder with MXNet's graph and parameters, for gluon.SymbolBlock.imports",
    "npz": (
        "NumPy arrays under the parameters' names, from which mlr.import_npz makes the network "
        "again"
    ),
    "torch": (
        "a folder for PyTorch, with weights, settings and a module that can continue the "
        "training, from which mlr.import_torch makes a run again"
    ),
}
ENDINGS = {"onnx": ".onnx", "npz": ".npz"}


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
            "for onnx: include resizing and normalisation in the model; its input is then images "
            "(N, H, W, 3), uint8 RGB, of any size"
        ),
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help=(
            "for onnx: quantize to 8 bits, a quarter of the size, for processors with VNNI "
            "instructions; needs --calibrate"
        ),
    )
    parser.add_argument(
        "--calibrate",
        action="append",
        metavar="DIR|demo",
        help=(
            "a data folder, as for mlr train; repeat the option for each further one: up to 256 "
            "training images give the ranges of the maps, and test (else valid) images measure the "
            "loss of accuracy from int8"
        ),
    )
    return parser


def export(options: argparse.Namespace) -> None:
    """Write a run's network in the requested format."""
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

    from mlr.data.drawn import data_folder
    from mlr.exporting.arrays import npz_of
    from mlr.exporting.description import description, output_of
    from mlr.exporting.symbol import save_symbol
    from mlr.methods import load_network, method_of, open_run_folder
    from mlr.methods.exported import onnx_of

    run, parameters = open_run_folder(options.run), options.parameters
    method = method_of(run.config)
    if options.format == "onnx":
        folders = [data_folder(each) for each in options.calibrate or ()]
        model = onnx_of(run, method, parameters, options.with_preprocessing, folders)
        save(out, model.content)
        print(f"{FORMATS['onnx'].partition(',')[0]}: {out}\noutput: {model.output}")
        return
    net = load_network(run, [mx.cpu()], parameters)
    part, _, meaning = method.exported(net, run.config)
    steps = method.preprocessing(run.config).steps()
    about = description(run, steps, parameters)
    if options.format == "npz" and part is not net:
        meaning = f"outputs of the whole network; the run uses {meaning}"
    about["output"] = meaning = output_of(meaning, about)
    if options.format == "npz":
        save(out, npz_of(net, run.config, about))
    elif options.format == "torch":
        save_for_pytorch(out, run, net, about)
    else:
        save_symbol(part, run.config["preprocessing"]["image_size"], about, out)
    print(f"{FORMATS[options.format].partition(',')[0]}: {out}\noutput: {meaning}")


def save_for_pytorch(out: Path, run: "Run", net: "HybridBlock", about: Mapping[str, Any]) -> None:
    """Write the folder for PyTorch. about: the description. Raises InputError for a network that
    multilevel.py can't build in PyTorch.
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


def check(options: argparse.Namespace, out: Path) -> None:
    """Raise InputError, before any work, if options conflict or the file can't be written."""
    if options.with_preprocessing and options.format != "onnx":
        raise InputError(
            "--with-preprocessing is only for --format onnx, the other formats hold the network "
            "alone: leave it out"
        )
    if options.int8 and options.format != "onnx":
        raise InputError("--int8 is only for --format onnx: leave it out")
    if options.int8 != bool(options.calibrate):
        raise InputError("--int8 and --calibrate need each other: give both, or neither")
    ending = ENDINGS.get(options.format)
    if ending and out.suffix != ending:
        raise InputError(
            f"--out {out}: the name of a file of --format {options.format} ends with {ending}"
        )
    cli.refuse_existing(out)
    cli.refuse_unwritable("--out", out)


def save(out: Path, content: Content) -> None:
    """Write a file, whole or not at all; content as for `mlr.runtime.files.write_file`. Raises
    RunError, which names the file, if that fails.
    """
    try:
        write_file(out, content)
    except OSError as error:
        raise RunError(
            f"{out} can't be written, likely as the disk is full ({error.strerror or error}): "
            "free some space, or give another --out"
        ) from None


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), export, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
