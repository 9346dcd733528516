"""python -m mlr.export: write a run's network for programs that don't have this package."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from mlr import command
from mlr.errors import InputError, RunError
from mlr.files import write_file
from mlr.installation import require_mxnet

FORMATS = {
    "onnx": "a model of ONNX's opset 17 for batches of any size, with class names and preprocessing in its metadata",
    "symbol": "a folder with MXNet's graph and parameters, for gluon.SymbolBlock.imports",
    "npz": "NumPy arrays by the parameters' names, which mlr.import_npz makes the network of again",
}
ENDINGS = {"onnx": ".onnx", "npz": ".npz"}
INPUTS = {  # with and without preprocessing in the model
    False: "images (N, 3, S, S), float32, after the preprocessing that is described",
    True: "images (N, H, W, 3), uint8 RGB, of any size: the preprocessing that is described is in the model",
}


def parser():
    parser = command.Parser("export", __doc__)
    command.add_run(parser, shipped=True)
    parser.add_argument("--format", choices=FORMATS, default="onnx", help="; ".join("%s: %s" % item for item in FORMATS.items()) + " (default: onnx)")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .onnx or .npz file, or the folder, to write; it must not exist")
    parser.add_argument("--with-preprocessing", action="store_true", help=(
        "of onnx: have resizing and normalisation in the model, whose input are then images (N, H, W, 3), uint8 RGB, of any size"))
    parser.add_argument("--int8", action="store_true", help=(
        "of onnx: quantize to 8 bits, a quarter of the size, for processors with VNNI instructions; needs --calibrate"))
    parser.add_argument("--calibrate", metavar="DIR|demo", help=(
        "a data folder as of mlr train: up to 256 training images tell the ranges of maps, and test images (or valid ones) what int8 costs"))
    return parser


def export(options):
    out = Path(options.out)
    check(options, out)
    require_mxnet()
    if options.format == "onnx":
        require("onnx")
    if options.int8:
        require("onnxruntime")
    import mxnet as mx
    from mlr.checkpoint import Run
    from mlr.portable import description, exported_part, npz_of, save_symbol

    run = Run.open(options.run)
    net = run.load_network([mx.cpu()], options.parameters)
    part, output, meaning = exported_part(net, run.config)
    about, size = {**description(run, options.parameters), "output": meaning}, run.config["preprocessing"]["image_size"]
    if options.format == "onnx":
        save(out, onnx_bytes(run, part, output, about, options))
    elif options.format == "npz":
        save(out, npz_of(net, run.config, about))
    else:
        save_symbol(part, size, about, out)
    print("%s: %s\noutput: %s" % (FORMATS[options.format].partition(",")[0], out, meaning))


def onnx_bytes(run, part, output, about, options):
    """Return the content of the .onnx file. part: the network to export; output: its output's name; about: the metadata."""
    from mlr.onnx_graph import add_preprocessing, onnx_model, serialized

    model = onnx_model(part, run.config["preprocessing"]["image_size"], output)
    about = {**about, "input": INPUTS[options.with_preprocessing]}
    if options.int8:
        if output != "logits":
            raise InputError("--int8 is measured by the classes that a model tells, but of %s features are exported: leave it out" % run.folder)
        model, about["int8"] = quantized_model(run, model, options.calibrate)
    if options.with_preprocessing:
        add_preprocessing(model, about["preprocessing"])
    return serialized(model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()})


def quantized_model(run, model, data):
    """Return the model in 8 bits and what that changed, for the metadata, which is printed, too."""
    from mlr.data.drawn import data_folder
    from mlr.data.manifest import folds_of
    from mlr.data.splits import fingerprint, read_splits
    from mlr.data.walk import words_on
    from mlr.prediction import evaluation_transform
    from mlr.quantization import calibration_images, compared, quantized

    folder, trained = data_folder(data), run.config["options"]
    splits = read_splits(folder, trained["labels"], trained["fold"] if folds_of(folder) else None)
    if "train" not in splits or len(splits) < 2:
        raise InputError("--calibrate %s has only the split %s: int8 is calibrated on train, and measured on test or valid" % (
            data, ", ".join(splits)))
    measured = "test" if "test" in splits else "valid"
    train, split, transform = splits["train"], splits[measured], evaluation_transform(run.config)
    if split.classes != run.classes:
        raise InputError("%s has the classes %s, but the run was trained on %s: give the folder of the same classes" % (
            split.source, ", ".join(split.classes), ", ".join(run.classes)))
    left_out = train.left_out + split.left_out
    if left_out:
        print(words_on(left_out))
    sha256 = fingerprint({measured: split})
    images = calibration_images(train, transform)
    small = quantized(model, images)
    change = compared(model, small, split, transform)
    print("int8: accuracy %.4f, float32 %.4f, the same class for %.2f %% of %d images of %s" % (
        change["accuracy_int8"], change["accuracy_float32"], 100 * change["same_class"], change["images"], split.source))
    print("int8: %.1f MB instead of %.1f; calibrated on %d images of %s" % (
        small.ByteSize() / 1e6, model.ByteSize() / 1e6, len(images), train.source))
    return small, {"split": measured, "sha256": sha256, "calibration_images": len(images), **change}


def check(options, out):
    """Raise InputError, before any work, where options don't go together or the file can't be written."""
    if options.with_preprocessing and options.format != "onnx":
        raise InputError("--with-preprocessing is of --format onnx: the others hold the network as MXNet has it; leave it out")
    if options.int8 and options.format != "onnx":
        raise InputError("--int8 is of --format onnx: leave it out")
    if options.int8 != bool(options.calibrate):
        raise InputError("--int8 and --calibrate go together: give both, or none")
    ending = ENDINGS.get(options.format)
    if ending and out.suffix != ending:
        raise InputError("--out %s: the name of a file of --format %s ends with %s" % (out, options.format, ending))
    command.refuse_existing(out)
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError("--out %s can't be written: %s is no folder, or not one that you may write to" % (out, above))


def require(package):
    """Raise InputError, naming the extra to install, where a package is missing."""
    try:
        import_module(package)
    except ModuleNotFoundError:
        raise InputError("this needs the package %s: pip install 'mlr[onnx]'" % package) from None


def save(out, content):
    """Write a file, whole or not at all; content as in `mlr.files.write_file`. Raises RunError, naming it, where that fails."""
    try:
        write_file(out, content)
    except OSError as error:
        raise RunError("%s can't be written, likely for want of room: %s" % (out, error.strerror or error)) from None


def main(argv=None):
    return command.run(parser(), export, argv)


if __name__ == "__main__":
    sys.exit(command.leave_if_stopped(main()))
