"""Every reader of the package on damaged and hostile files: it reads them, or says in a line what
is wrong with which of them.

Inputs are mutations of valid files, drawn by the reader's name and a number, and are read in other
processes, so that a crash or a hang names its input. MLR_FUZZ=N makes N inputs instead of some
hundreds (make fuzz); MLR_TEST_SEED=N draws others.
"""

import hashlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from queue import Empty, Queue
from types import SimpleNamespace
from typing import Callable, NamedTuple

import cv2
import mutations
import mxnet as mx
import numpy as np
import pytest
import test_datasets
from conftest import evaluation_of, write_images
from PIL import Image
from safetensors.numpy import save_file

import mlr  # sets the threads before anything loads MXNet
from mlr.data.drawn.paintings import draw
from mlr.data.examine import examine_image, examine_images
from mlr.data.folder import ImageFolder
from mlr.data.images import checked_bytes, read_bytes, read_image
from mlr.data.labelled import LabelledImages
from mlr.data.layouts import DATASETS
from mlr.data.listing import Listing
from mlr.data.manifest import folds_of
from mlr.data.pixels import CachedImages
from mlr.data.preparation import SplitRule, prepare_images
from mlr.data.splits import fingerprint, manifest_sha256, read_training_splits
from mlr.data.transforms import caffe_transform, preprocessing
from mlr.errors import InputError, RunError
from mlr.exporting.arrays import npz_of
from mlr.exporting.description import description
from mlr.exporting.pytorch import of_the_run, save_pytorch
from mlr.formats.npz import read_npz
from mlr.formats.onnx import SEAL_BYTES, read_onnx
from mlr.formats.onnx import sealed as sealed_model
from mlr.formats.params import read_params, write_params
from mlr.inference import reading, support_vectors
from mlr.inference.proposals import read_proposals
from mlr.methods import METHODS, load_network, method_of, open_run, pcnn, predictor_of
from mlr.methods.exported import onnx_of
from mlr.model.caffe_weights import load_caffe_weights
from mlr.model.caffenet import CaffeNet
from mlr.model.network import MultiLevelNet
from mlr.model.parameters import materialize, set_parameters
from mlr.model.pretrained import load_pretrained
from mlr.model.released_weights import load_original_parameters, save_original_parameters
from mlr.model.torch_names import in_pytorchs_names
from mlr.options.training import TrainingOptions, definitions, options_of
from mlr.runs.folder import SUMS
from mlr.runs.measured_images import read_images
from mlr.runs.provenance import environment
from mlr.runs.results import (
    csv_table,
    folders_of,
    of_the_papers_data,
    outcome,
    read_csv,
    summary,
)
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of
from mlr.training.checkpoints import restore, state_of
from mlr.training.distributed import Workers
from mlr.training.fitting import kept_images, new_loss
from mlr.training.loop import Progress
from mlr.training.metrics import calibration_metrics, classification_metrics
from mlr.training.run import new_network, trainer_of
from mlr.training.session import Source
from mlr.viz.images import read_images_and_inputs, thumbnail
from mlr.viz.report import most_confident, save_report

INPUTS = int(os.environ.get("MLR_FUZZ", 300))
SEED = os.environ.get("MLR_TEST_SEED", "0")
PROCESSES = 2
SECONDS = 60  # for an input, against hanging
SECONDS_TO_START = 120
MEMORY = 4 << 30  # bytes of address space beyond what a process has when it is ready
LONGEST = 5000  # characters of an error's message


class Reader(NamedTuple):
    """What reads files. write: puts valid ones into an empty folder. read: (folder, the path of the
    one that was mutated) -> None.

    whole: it takes the folder, else the one file alone. strict: no change may be read. cost: so
    many others could be read meanwhile.
    chosen: which of the files are mutated, patterns; one that is there twice twice as often. named:
    it lists files, which have whatever names they have in an error, too.
    """

    write: Callable
    read: Callable
    whole: bool = False
    strict: bool = False
    cost: int = 1
    chosen: tuple = ("**/*",)
    named: bool = False


# Images.


def write_pictures(folder):
    pixels = np.random.RandomState(0).randint(0, 256, (40, 60, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(cv2.resize(pixels, (150, 100)), (0, 0), 5)
    for name, options, image in (
        ("a.jpg", (), smooth),
        ("progressive.jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), smooth),
        ("grey.jpg", (), smooth[:, :, 0]),
        ("restarts.jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2), pixels),
        ("a.png", (), pixels),
        ("grey.png", (), pixels[:, :, 0]),
        ("alpha.png", (), np.dstack([pixels, pixels[:, :, 0]])),
        ("16.png", (), pixels.astype(np.uint16) * 257),
        ("column.png", (), pixels[:, :1]),
        ("row.jpg", (), pixels[:1]),
        ("a.bmp", (), pixels),
        ("a.webp", (), pixels),
        ("a.tiff", (), pixels),
        ("16.tiff", (), pixels.astype(np.uint16)),
        ("a.ppm", (), pixels),
    ):
        extension = os.path.splitext(name)[1]
        (folder / name).write_bytes(cv2.imencode(extension, image, options)[1].tobytes())
    picture = Image.fromarray(pixels)
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.save(
        folder / "exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    )
    picture.convert("P").save(folder / "palette.png")
    picture.convert("1").save(folder / "bits.png")
    frames = dict(save_all=True, append_images=[picture.rotate(90), picture.rotate(180)])
    for name in ("a.gif", "animated.png", "animated.webp"):
        picture.save(folder / name, **frames)
    picture.save(folder / "packed.tiff", compression="tiff_lzw")
    picture.save(folder / "a.jp2")
    (folder / "endless.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-2])
    picture.save(folder / "pages.tiff", compression="jpeg", **frames)
    shutil.copy(folder / "a.png", folder / "png.jpg")
    shutil.copy(folder / "a.gif", folder / "gif.jpg")
    shutil.copy(folder / "a.jpg", folder / "jpg.png")


def read_picture(folder, path):
    """As mlr prepare, predict, report and visualize do. What one refuses, all do."""
    found, errors = examine_image(path), []
    for read in (
        lambda path: reading.pixels_of(reading.read(path), path),
        read_image,
        thumbnail,
        lambda path: read_images_and_inputs([path], 64, mx.cpu()),
    ):
        try:
            read(path)
            mx.nd.waitall()
        except InputError as error:
            errors.append(error)
    assert len(errors) == (4 if found.fault else 0), (found, errors)
    if errors:
        raise errors[0]


# Data sets.


def write_data(folder):
    write_images(folder, train=2, valid=1, test=1, size=(20, 30))


def read_data(folder, path):
    splits, _ = read_training_splits(folder)
    fingerprint(splits)


def write_prepared_data(folder):
    write_images(
        folder / "images", classes=("anger", "awe"), train=5, valid=0, test=0, size=(20, 30)
    )
    for name, dataset in (("folds", "artphoto"), ("splits", "fi")):
        listing = Listing(folder / "images")
        for label in ("anger", "awe"):
            for number in range(5):
                listing.add(f"train/{label}/{number:02d}.jpg", label)
                listing.attributes[f"train/{label}/{number:02d}.jpg"] = (
                    {"scene": "sky, blue"} if name == "folds" else {"votes_awe": "2"}
                )
        prepare_images(
            listing,
            folder / name,
            SplitRule(DATASETS[dataset].fractions),
            {"dataset": dataset},
        )
    # the images are beside it, wherever the folder is copied to
    for path in folder.glob("*/prepared.json"):
        path.write_text(path.read_text().replace(str(folder / "images"), "../a/inside/images"))


def read_prepared_data(folder, path):
    for labels in ("emotion", "sentiment"):
        folds = folds_of(path.parent)
        splits, _ = read_training_splits(path.parent, labels, folds[0] if folds else None)
        fingerprint(splits)
    manifest_sha256(path.parent)
    of_the_papers_data(path.parent)


def write_layout(write):
    def write_few(folder):
        write(folder)
        for path in sorted(folder.rglob("*.jpg"))[60:]:  # they are copied for every input
            path.unlink()

    return write_few


def read_layout(dataset):
    def read(folder, path):
        listing = DATASETS[dataset].read(folder)
        assert all(
            (folder / row.path).resolve().relative_to(folder.resolve()) for row in listing.rows
        )

    return read


def write_csv_layout(folder):
    (folder / "label.csv").write_text("".join(f"{number:d},{'awe'}\n" for number in range(8)))
    for number in range(8):
        test_datasets.picture(folder / "images" / (f"{number:d}.jpg"))


def write_journal(folder):
    write_csv_layout(folder)

    list(
        examine_images(
            folder, [f"images/{number:d}.jpg" for number in range(8)], folder / "examined.csv"
        )
    )


def read_journal(folder, path):
    """What an interrupted mlr prepare goes on from: its results must be those of the images,
    whatever is in it.
    """
    examined = list(examine_images(folder, [f"images/{number:d}.jpg" for number in range(8)], path))
    assert all(image.width for image in examined)


def write_cache(folder):
    write_images(folder, train=2, valid=0, test=0, size=(20, 30))
    os.environ["MLR_CACHE"] = str(folder)
    CachedImages(ImageFolder(folder / "train"), 32)


def read_cache(folder, path):
    os.environ["MLR_CACHE"] = str(folder)
    images = CachedImages(ImageFolder(folder / "train"), 32)
    assert images[3][0].asnumpy().shape == (32, 32, 3)


def write_drawn(folder):
    draw(
        folder,
        {"seed": 0, "size": 8},
        {("train", "awe"): 1},
        lambda name, random: np.zeros((8, 8, 3), np.uint8),
    )


def read_drawn(folder, path):
    draw(
        folder,
        {"seed": 0, "size": 8},
        {("train", "awe"): 1},
        lambda name, random: np.zeros((8, 8, 3), np.uint8),
    )


# Parameters.


@lru_cache(maxsize=None)
def small_network():
    net = MultiLevelNet(2, backbone="resnet18_v2_slim", style_width=8)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    return net


@lru_cache(maxsize=None)
def small_caffenet():
    net = CaffeNet(3, 16, 64)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    return net


def arrays_of(parameters):
    mx.nd.waitall()
    return {name: parameter.data().asnumpy() for name, parameter in parameters.items()}


def save_onnx(arrays, path):
    import onnx

    graph = onnx.helper.make_graph(
        [],
        "model",
        [],
        [],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(onnx.helper.make_model(graph), str(path))


def write_params_files(folder):
    for name, dtype in (("a.params", "float32"), ("b.params", "float16"), ("c.params", "int64")):
        mx.nd.save(
            str(folder / name),
            {
                "weight": mx.nd.ones((2, 3), dtype=dtype),
                "bias": mx.nd.ones(4, dtype=dtype),
                "b.x": mx.nd.ones((1, 2, 3, 4)),
            },
        )
    mx.nd.save(str(folder / "list.params"), [mx.nd.ones(3)])


def read_one_params(folder, path):
    read_params(path)


def write_weights(folder):
    backbone = small_network().backbone
    prefixed = {
        "resnetv20_" + name: array
        for name, array in arrays_of(backbone.prefixed_parameters).items()
    }
    for name, arrays in (
        ("structural.params", arrays_of(backbone.structural_parameters)),
        ("prefixed.params", prefixed),
        (
            "tagged.params",
            {
                ("aux:" if "running" in name else "arg:") + name: array
                for name, array in prefixed.items()
            },
        ),
    ):
        mx.nd.save(str(folder / name), {name: mx.nd.array(array) for name, array in arrays.items()})
    save_onnx(prefixed, folder / "weights.onnx")
    save_file(prefixed, folder / "weights.safetensors")
    pytorchs = in_pytorchs_names(arrays_of(small_network()._collect_params_with_prefix()))
    save_file(pytorchs, folder / "pytorch.safetensors")


def read_weights(folder, path):
    load_pretrained(small_network().backbone, str(path))


def write_caffe_weights(folder):
    arrays = arrays_of(small_caffenet().caffe_parameters)
    np.savez(
        folder / "weights.npz",
        **{
            name.replace(".weight", "_weights").replace(".bias", "_biases"): array
            for name, array in arrays.items()
        },
    )
    np.savez_compressed(
        folder / "tensorflow.npz", **{name: array.T for name, array in arrays.items()}
    )
    save_onnx(
        {
            name.replace(".weight", "_w_0").replace(".bias", "_b_0"): array
            for name, array in arrays.items()
        },
        folder / "weights.onnx",
    )
    small_caffenet().save_parameters(str(folder / "own.params"))


def read_caffe_weights(folder, path):
    load_caffe_weights(small_caffenet(), path)


def write_mean(folder):
    np.save(folder / "mean.npy", np.full((3, 256, 256), 100, np.uint8))


def read_mean(folder, path):
    caffe_transform(mean_image=path)


def write_proposals(folder):
    tables = {
        f"awe/{number:d}.jpg": np.array([[1.0, 2.0, 30.0, 40.0, 0.5], [0, 0, 35, 35, 0.25]])
        for number in range(3)
    }
    np.savez(folder / "a.npz", **tables)
    np.savez_compressed(
        folder / "b.npz", **{name: table.astype(np.float32) for name, table in tables.items()}
    )


def write_mat(folder):
    from scipy import io

    boxes, names = np.empty(2, object), np.empty(2, object)
    for number in range(2):
        boxes[number], names[number] = (
            np.array([[1.0, 2.0, 30.0, 40.0, 0.5]] * 3),
            f"awe/{number:d}.jpg",
        )
    io.savemat(folder / "a.mat", {"boxes": boxes, "imgname": names})
    io.savemat(folder / "b.mat", {"boxes": boxes, "imgname": names}, do_compression=True)


def read_proposal_file(folder, path):
    read_proposals(path)


def write_originals(folder):
    save_original_parameters(small_network(), folder / "a.params")


def write_original_without_checksum(folder):
    write_originals(folder)
    (folder / "a.params.sha256").unlink()


def read_original(folder, path):
    load_original_parameters(small_network(), folder / "a.params")


# Run folders.


def write_run(folder, method="l_cil", classes=("awe", "fear"), **changes):
    """Write a run as mlr train leaves it, of a small network with drawn parameters; return it and
    its network.
    """
    shutil.rmtree(folder, ignore_errors=True)  # a new run has a new folder
    method = METHODS[method]
    options = replace(method.demo, data="mine", **changes)
    data = {
        "folder": str(folder),
        "sha256": "0" * 64,
        "manifest": None,
        "counts": {"train": [4, 4], "valid": [2, 2]},
    }
    network, features = method.network(options, len(classes)), method.features({})
    config = {
        "format": 2,
        "options": method.plain(options),
        "network": network,
        "preprocessing": preprocessing(options.image_size),
        "data": data,
        "pretrained": {"source": "none"},
        "contexts": ["cpu(0)"],
        **({"features": features} if features else {}),
        **environment(),
    }
    run = RunWriter.create(folder, config, list(classes))
    net = new_network(method, network, [mx.cpu()])
    trainer = trainer_of(net, options, {}, Workers())
    with mx.autograd.record():
        loss = net(mx.nd.random.normal(shape=(2, 3, options.image_size, options.image_size))).sum()
    loss.backward()
    trainer.step(2)
    for epoch in (1, 2):
        run.save_epoch(
            state_of(net, trainer),
            {
                "epoch": epoch,
                "loss": 1 / epoch,
                "train_accuracy": 0.5,
                "valid_accuracy": 0.5,
                "valid_balanced_accuracy": 0.5,
                "seconds": 1.0,
                "images_per_second": 8.0,
                "learning_rate": 0.1,
            },
        )
    write_evaluation(run)
    return run, net, trainer


def write_evaluation(run):
    evaluation = evaluation_of(run, classification_metrics([0, 0, 1, 1], [0, 1, 1, 1], run.classes))
    (run.folder / "evaluation_test.json").write_text(json.dumps(evaluation))


def write_small_run(folder):
    write_run(folder, style_width=8)


def write_tempered_run(folder):
    run = write_run(folder, style_width=8)[0]
    run.save_temperature("last", {"temperature": 1.5})
    write_evaluation(run)


def write_step(folder):
    run, net, trainer = write_run(folder, "shallow", taps="stem", style_width=4)
    run.save_step(state_of(net, trainer), asdict(Progress(2, 1, 0.5, 1.0, 2, 0.1)))


def write_support_vectors(kernel):
    def write(folder):
        run, net, _ = write_run(folder, "deepsentibank", svm_kernel=kernel)
        width = net.output.weight.shape[1]
        machine = support_vectors.fit(
            np.random.RandomState(0).normal(size=(12, width)), [0, 1] * 6, kernel
        )
        run.save_files({"svm.params": lambda path: write_params(path, machine.arrays())})
        write_evaluation(run)

    return write


def write_kept(folder):
    run = write_run(folder, "pcnn", backbone="pcnn_small")[0]
    run.save_files({"kept_1.json": json.dumps({"kept": [0, 1, 3], "names": ["0", "1", "3"]})})


def write_regions(folder):
    write_run(folder, "ar")


def write_run_of_sets(folder):
    write_run(folder, style_width=8)
    config, names = json.loads((folder / "config.json").read_text()), ["first", "second"]
    # the images are in it, wherever the folder is copied to
    config["options"]["data"] = [f"../a/inside/{name}" for name in names]
    config["data"]["sets"] = [
        {**config["data"], "folder": f"../a/inside/{name}", "splits": {"test": "0" * 64}}
        for name in names
    ]
    (folder / "config.json").write_text(json.dumps(config))
    sealed(folder, folder / "config.json")
    for name in names:
        write_images(folder / name, ("awe", "fear"), train=1, valid=1, test=1, size=(20, 30))


def sealed(folder, path):
    """Have the sums of a run folder fit, as somebody does who means harm; return the run."""
    if path.name != SUMS:
        lines = [
            line
            for line in (folder / SUMS).read_text().splitlines()
            if not line.endswith("  " + path.name)
        ]
        listed = len(lines) < len((folder / SUMS).read_text().splitlines())
        (folder / SUMS).write_text(
            "".join(
                line + "\n"
                for line in sorted(
                    [*lines, *([f"{sha256_of(path)}  {path.name}"] if listed else [])]
                )
            )
        )
    return open_run(folder)


def read_damaged_run(folder, path):
    """Without fitting sums, and whatever the change, something of it must be refused."""
    run = open_run(folder)
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        run.verified(line[66:])
    load_network(run, [mx.cpu()])


def read_run(folder, path):
    """As mlr predict, evaluate --report, export and reproduce do, as far as they go without other
    files.
    """
    run = sealed(folder, path)
    predictor = predictor_of(run, [mx.cpu()])
    picture = np.random.RandomState(0).randint(0, 256, (70, 80, 3)).astype(np.uint8)
    answer = predictor(picture)
    assert list(answer.probabilities) != [] and abs(sum(answer.probabilities.values()) - 1) < 1e-6
    assert sorted(answer.probabilities) == sorted(run.classes)
    method = method_of(run.config)
    json.dumps(description(run, method.preprocessing(run.config).steps()))
    method.exported(predictor.net, run.config)
    evaluation = {
        "data": "x",
        "sha256": "0",
        "fold": None,
        "parameters": "last",
        **classification_metrics([0, 1], [0, 1], run.classes),
        **calibration_metrics([0, 1], np.eye(2)),
    }
    save_report(
        folder / "report_test.html",
        run,
        None,
        "test",
        evaluation,
        *most_confident(np.empty((0, 2)), [], [], run.classes),
    )
    # last, as it refuses all but the parameters that were measured
    outcome(folder)


def read_run_of_sets(folder, path):
    """As mlr evaluate does, up to the network, and mlr train --resume with the folders' new
    places.
    """
    run = sealed(folder, path)
    assert all(len(images.split) for images in read_images(run, None, "test"))
    resumed, places = RunWriter.resumed(folder), folders_of(run.config["data"])
    sets = [{"folder": str(place.resolve())} for place in places]
    resumed.move({"data": {"folder": "elsewhere", "sets": sets}})
    assert folders_of(open_run(folder).config["data"]) == [place.resolve() for place in places]


def read_checkpoint(folder, path):
    """As mlr train --resume does, up to its first step."""
    sealed(folder, path)
    run = RunWriter.resumed(folder)
    method, options = method_of(run.config), options_of(run.config)
    net = new_network(method, method.network(options, len(run.classes)), [mx.cpu()])
    trainer = trainer_of(net, options, {}, Workers())
    restore(run, net, trainer)
    with mx.autograd.record():
        loss = new_loss(options, [1] * len(run.classes))(
            net(mx.nd.zeros((2, 3, options.image_size, options.image_size))), mx.nd.array([0, 1])
        )
    loss.backward()
    trainer.step(2)


def read_kept(folder, path):
    images = LabelledImages(
        "mine",
        ["awe", "fear"],
        [f"{number:d}.jpg" for number in range(8)],
        [0, 1] * 4,
        list("01234567"),
    )
    training = SimpleNamespace(run=sealed(folder, path), source=Source({"train": images}, "train"))
    assert len(kept_images(training, 1, pcnn.select)) > 0


def write_exported(folder):
    run, net, _ = write_run(folder / "run", style_width=8)
    steps = method_of(run.config).preprocessing(run.config).steps()
    (folder / "model.npz").write_bytes(npz_of(net, run.config, description(run, steps)))
    shutil.rmtree(folder / "run")


def read_exported(folder, path):
    mlr.import_npz(path)


def write_for_pytorch(folder):
    run, net, _ = write_run(folder / "run", style_width=8)
    run.save_temperature("last", {"temperature": 1.5})
    steps = method_of(run.config).preprocessing(run.config).steps()
    about = {**description(run, steps), "run": of_the_run(run)}
    save_pytorch(net, about, folder / "model")
    shutil.rmtree(folder / "run")


def read_for_pytorch(folder, path):
    try:
        run = open_run(mlr.import_torch(folder / "model", folder / "run"))
        load_network(run, [mx.cpu()])
        run.temperature("last")
    finally:
        shutil.rmtree(folder / "run", ignore_errors=True)


def write_exported_onnx(folder):
    write_run(folder / "run", style_width=8)
    run = open_run(folder / "run")
    (folder / "model.onnx").write_bytes(onnx_of(run, method_of(run.config)).content)
    shutil.rmtree(folder / "run")


def read_exported_onnx(folder, path):
    """As mlr predict does."""
    predictor = mlr.load(path, ctx="cpu")
    answer = predictor(np.random.RandomState(0).randint(0, 256, (70, 80, 3)).astype(np.uint8))
    assert abs(sum(answer.probabilities.values()) - 1) < 1e-6


def read_resealed_onnx(folder, path):
    """With a seal that fits, as somebody makes it who means harm."""
    path.write_bytes(sealed_model(path.read_bytes()[:-SEAL_BYTES]))
    read_exported_onnx(folder, path)


def write_table(folder):
    write_run(folder / "l_cil-seed0", style_width=8)
    (folder / "results.csv").write_text(csv_table({"l_cil": [outcome(folder / "l_cil-seed0")] * 2}))
    shutil.rmtree(folder / "l_cil-seed0")


def read_table(folder, path):
    for outcomes in read_csv(path).values():
        summary(outcomes)


RUN_FILES = (
    "config.json",
    "config.json",
    "config.json",
    "classes.json",
    "metrics.jsonl",
    "last.params",
    "SHA256SUMS",
    "*.json",
)
READERS = {
    "image": Reader(write_pictures, read_picture),
    "folder": Reader(write_data, read_data, whole=True),
    "prepared": Reader(
        write_prepared_data,
        read_prepared_data,
        whole=True,
        chosen=("*/manifest.csv", "*/prepared.json"),
        named=True,
    ),
    **{
        f"{write.__name__} layout": Reader(
            write_layout(write),
            read_layout(dataset),
            whole=True,
            chosen=("**/*.txt", "**/*.csv", "**/*.json"),
            cost=2,
        )
        for dataset, write in test_datasets.LAYOUTS
        if write.__name__
        not in ("fi_folders", "fi_split_folders", "emotionroi_folders", "artphoto")
    },
    "csv layout": Reader(write_csv_layout, read_layout("csv"), whole=True, chosen=("label.csv",)),
    "journal": Reader(write_journal, read_journal, whole=True, chosen=("examined.csv",)),
    "pixel cache": Reader(write_cache, read_cache, whole=True, chosen=("pixels*",)),
    "drawn data": Reader(write_drawn, read_drawn, whole=True, chosen=("*.json",)),
    "params": Reader(write_params_files, read_one_params),
    "weights": Reader(write_weights, read_weights, cost=2),
    "caffe weights": Reader(write_caffe_weights, read_caffe_weights),
    "mean image": Reader(write_mean, read_mean),
    "proposals": Reader(write_proposals, read_proposal_file),
    "mat proposals": Reader(write_mat, read_proposal_file, cost=30),
    "original": Reader(write_original_without_checksum, read_original, cost=2),
    "original with checksum": Reader(
        write_originals, read_original, whole=True, strict=True, cost=2, chosen=("*.params",)
    ),
    "exported npz": Reader(write_exported, read_exported, cost=2),
    "exported for PyTorch": Reader(
        write_for_pytorch,
        read_for_pytorch,
        whole=True,
        cost=4,
        chosen=("**/config.json", "**/*.safetensors"),
    ),
    "exported onnx": Reader(write_exported_onnx, read_exported_onnx, strict=True, cost=2),
    "resealed onnx": Reader(write_exported_onnx, read_resealed_onnx, cost=4),
    "table of results": Reader(write_table, read_table),
    "damaged run": Reader(
        write_small_run,
        read_damaged_run,
        whole=True,
        strict=True,
        chosen=("[!Sel]*", "last.params"),
    ),
    "run": Reader(write_small_run, read_run, whole=True, cost=4, chosen=RUN_FILES),
    "run, several data sets": Reader(
        write_run_of_sets, read_run_of_sets, whole=True, cost=2, chosen=("config.json",)
    ),
    "run, temperature": Reader(
        write_tempered_run, read_run, whole=True, cost=4, chosen=("last.temperature.json",)
    ),
    "run, support vectors": Reader(
        write_support_vectors("linear"),
        read_run,
        whole=True,
        cost=4,
        chosen=(*RUN_FILES, "svm.params"),
    ),
    "run, rbf": Reader(
        write_support_vectors("rbf"), read_run, whole=True, cost=4, chosen=("svm.params",)
    ),
    "run, regions": Reader(write_regions, read_run, whole=True, cost=10, chosen=RUN_FILES),
    "run, kept images": Reader(write_kept, read_kept, whole=True, cost=2, chosen=("kept_1.json",)),
    "checkpoint": Reader(
        write_small_run, read_checkpoint, whole=True, cost=6, chosen=(*RUN_FILES, "previous*")
    ),
    "optimizer": Reader(
        write_small_run, read_checkpoint, whole=True, cost=4, chosen=("optimizer.params",)
    ),
    "checkpoint in an epoch": Reader(
        write_step, read_checkpoint, whole=True, cost=4, chosen=("step*",)
    ),
    "checksum": Reader(write_originals, read_original, whole=True, cost=2, chosen=("*.sha256",)),
}


def shares(inputs):
    """Return how many inputs each reader gets, by its cost, at least one."""
    total = sum(1 / reader.cost for reader in READERS.values())
    return {name: max(1, round(inputs / reader.cost / total)) for name, reader in READERS.items()}


# The process that reads. It works in <home>/cwd; the input is in <home>/a/inside, and nothing else
# in <home> may change.


def read_inputs(templates, home):
    """Read what is asked for line by line, "<reader> <number>", and answer each with a line of
    JSON.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    (home / "cwd").mkdir(parents=True)
    (home / "a").mkdir()
    (home / "outside.txt").write_text("outside")
    os.chdir(home / "cwd")
    small_network(), small_caffenet()
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name, _, number = line.strip().rpartition(" ")
        print(
            json.dumps(read_input(templates / name, home, name, int(number))),
            file=answers,
            flush=True,
        )


@lru_cache(maxsize=None)
def contents(template):
    """Return the valid files of a reader, as they are, {name: bytes}."""
    return {
        path.relative_to(template).as_posix(): path.read_bytes()
        for path in sorted(template.rglob("*"))
        if path.is_file()
    }


def chosen_files(reader, template):
    return [
        path.relative_to(template).as_posix()
        for pattern in reader.chosen
        for path in sorted(template.glob(pattern))
        if path.is_file()
    ]


def placed(reader, template, inside, chosen, content):
    """Put one file, or all with that one changed, where they are read; return the path of that
    one.
    """
    shutil.rmtree(inside, ignore_errors=True)
    if reader.whole:
        shutil.copytree(template, inside)
    path = inside / chosen
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read_input(template, home, name, number):
    """Make an input, read it, and return what came of it."""
    reader, inside, drawn = (
        READERS[name],
        home / "a" / "inside",
        random.Random(f"{SEED} {name} {number:d}"),
    )
    chosen, files = drawn.choice(chosen_files(reader, template)), contents(template)
    others = [content for other, content in files.items() if other != chosen] or [
        files[chosen][::-1]
    ]
    content, change = mutations.mutated(files[chosen], drawn, others)
    path = placed(reader, template, inside, chosen, content)
    answer = {"file": chosen, "change": change, "outcome": "read", "said": ""}
    try:
        reader.read(inside, path)
        mx.nd.waitall()
        if reader.strict:
            answer.update(outcome="failed", said="it was read")
    except (InputError, RunError) as error:
        answer.update(outcome="refused", said=str(error))
        if not any(
            named in str(error)
            for named in [str(inside), *(found.name for found in inside.rglob("*"))]
        ):
            answer.update(outcome="failed", said=f"the error does not name the file: {error}")
        elif (
            len(str(error)) > LONGEST
            or not (
                reader.named or all(letter.isprintable() or letter == "\n" for letter in str(error))
            )
            or str(error).count("\n") > 12
        ):
            answer.update(outcome="failed", said=f"the error is no clear text: {str(error)!r:.300}")
    except BaseException as error:
        answer.update(
            outcome="failed",
            said=f"{type(error).__name__}: {error!s:.300}\n{traceback.format_exc()[-2000:]}",
        )
    if (
        sorted(
            str(found.relative_to(home))
            for found in [*home.glob("*"), *home.glob("a/*"), *home.glob("cwd/*")]
        )
        != ["a", "a/inside", "cwd", "outside.txt"]
        or (home / "outside.txt").read_text() != "outside"
    ):
        answer.update(
            outcome="failed", said=f"it wrote outside of its folder: {sorted(home.glob('*/*'))}"
        )
    return answer


# The process that asks.

TESTS = Path(__file__).parents[1]
# Where the child, which pytest does not start, finds the package and what tests share.
SHARED = [str(TESTS.parent), str(TESTS), str(TESTS / "unit" / "data"), *filter(None, sys.path)]


class Child:
    """A process that reads inputs, in the folder `home`."""

    def __init__(self, templates, home):
        self.arguments = [sys.executable, __file__, str(templates), str(home)]
        self.home, self.process = home, None

    def ask(self, name, number):
        """Return what came of an input, also where the process died of it."""
        if self.process is None:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir(parents=True)
            with open(str(self.home) + ".log", "a") as log:
                self.process = subprocess.Popen(
                    self.arguments,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    universal_newlines=True,
                    env={
                        **os.environ,
                        "OMP_NUM_THREADS": "1",
                        "PYTHONDONTWRITEBYTECODE": "1",
                        "PYTHONPATH": os.pathsep.join(SHARED),
                    },
                )
            assert self._answer(SECONDS_TO_START) == "ready\n", f"see {self.home}.log"
        self.process.stdin.write(f"{name} {number:d}\n")
        self.process.stdin.flush()
        line = self._answer(SECONDS)
        answer = (
            json.loads(line)
            if line
            else {
                "outcome": "failed",
                "file": "",
                "change": "",
                "said": f"no answer in {SECONDS:d} s",
            }
        )
        # whatever state it is in, the next input meets another
        if answer["outcome"] == "failed":
            if line != "":
                self.process.kill()
            code, self.process = self.process.wait(), None
            if line == "":
                answer["said"] = f"the process died, {code:d}"
        return answer

    def _answer(self, seconds):
        """Return the next line, "" where the process died, None where there is none in that
        time.
        """
        if select.select([self.process.stdout], [], [], seconds)[0]:
            return self.process.stdout.readline()
        return None

    def end(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    for name, reader in READERS.items():
        (folder / name).mkdir()
        reader.write(folder / name)
    return folder


def print_table(outcomes, seconds):
    """Print what became of each reader's inputs."""
    print(
        f"\n{'reader'!s:<24} {'inputs'!s:>8} {'read'!s:>8} {'refused'!s:>8} "
        f"{'failed'!s:>8} {'seconds'!s:>8}"
    )
    for name, counts in (*outcomes.items(), ("all", sum(outcomes.values(), Counter()))):
        print(
            f"{name!s:<24} {sum(counts.values()):8d} {counts['read']:8d} "
            f"{counts['refused']:8d} {counts['failed']:8d} "
            f"{seconds[name] if name in seconds else sum(seconds.values()):8.1f}"
        )


@pytest.mark.parametrize("name", READERS)
def test_what_is_mutated_can_be_read(name, templates, tmp_path, monkeypatch):
    """Else all that came of it would be refused for another reason than the change."""
    reader, template = READERS[name], templates / name
    (tmp_path / "a").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    files = set(chosen_files(reader, template)) - {"list.params"}  # its arrays have no names
    assert files
    for chosen in sorted(files):
        content = (template / chosen).read_bytes()
        path = placed(reader, template, tmp_path / "a" / "inside", chosen, content)
        reader.read(tmp_path / "a" / "inside", path)


def test_every_input_is_read_or_refused(templates, tmp_path, capsys):
    wanted = Queue()
    for name, count in shares(INPUTS).items():
        for number in range(count):
            wanted.put((name, number))
    outcomes, seconds, failures = {name: Counter() for name in READERS}, Counter(), []

    def work(process):
        child = Child(templates, tmp_path / str(process))
        try:
            while True:
                name, number = wanted.get_nowait()
                start = time.monotonic()
                answer = child.ask(name, number)
                outcomes[name][answer["outcome"]] += 1
                seconds[name] += time.monotonic() - start
                if answer["outcome"] == "failed":
                    kept = tmp_path / "failed" / (f"{name} {number:d}")
                    if (child.home / "a" / "inside").exists():
                        shutil.copytree(child.home / "a" / "inside", kept, symlinks=True)
                    failures.append(
                        f"{name} {number:d}, {answer['change']} of {answer['file']}: "
                        f"{answer['said']}; see {kept}"
                    )
        except Empty:
            child.end()

    with ThreadPoolExecutor(PROCESSES) as pool:
        for done in [pool.submit(work, process) for process in range(PROCESSES)]:
            done.result()
    if "MLR_FUZZ" in os.environ:
        with capsys.disabled():
            print_table(outcomes, seconds)
    assert not failures, "{:d} failures:\n{}".format(len(failures), "\n".join(failures[:200]))


# What no mutation may happen to draw.

CLAIMS = {
    "png": (
        "a.png",
        lambda content: (
            content[:16]
            + struct.pack(">II", 40000, 40000)
            + content[24:29]
            + struct.pack(
                ">I", zlib.crc32(content[12:16] + struct.pack(">II", 40000, 40000) + content[24:29])
            )
            + content[33:]
        ),
    ),
    "jpeg": (
        "a.jpg",
        lambda content: re.sub(
            rb"(\xff\xc0\x00.\x08)....",
            rb"\1" + struct.pack(">HH", 40000, 40000),
            content,
            flags=re.DOTALL,
        ),
    ),
    "gif": ("a.gif", lambda content: mutations.put(content, 6, "<HH", 40000, 40000)),
    "bmp": ("a.bmp", lambda content: mutations.put(content, 18, "<II", 40000, 40000)),
    "webp": (
        "animated.webp",
        lambda content: mutations.put(content, 24, "<HBHB", 9999, 0, 16000, 0),
    ),
    "ppm": ("a.ppm", lambda content: content.replace(b"60 40", b"40000 40000")),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_header_that_claims_the_memory(templates, tmp_path, kind):
    name, change = CLAIMS[kind]
    content = (templates / "image" / name).read_bytes()
    (tmp_path / name).write_bytes(change(content))
    assert (tmp_path / name).read_bytes() != content
    for read in (read_bytes, read_image, checked_bytes):
        with pytest.raises(InputError, match=f"{name} claims more than 134 million pixels"):
            read(tmp_path / name)


def test_a_jpeg_that_takes_for_ever(templates, tmp_path):
    """Of 110 million pixels, which it goes over forty times."""
    content = (templates / "image" / "progressive.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    content = re.sub(
        rb"(\xff\xc2\x00.\x08)....",
        rb"\1" + struct.pack(">HH", 10000, 11000),
        content[:-2] + content[last:-2] * 40 + content[-2:],
        flags=re.DOTALL,
    )
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(
        InputError,
        match="a.jpg has 5[0-9] scans over its 110000000 pixels, .* likely made to do harm",
    ):
        read_bytes(tmp_path / "a.jpg")


@pytest.fixture
def hostile(templates, tmp_path):
    """A run folder to be made hostile, and beside it a file that must stay as it is."""
    (tmp_path / "victim.txt").write_text("mine")
    return Path(shutil.copytree(templates / "run", tmp_path / "a" / "run"))


def listed(folder, name, content):
    """Add a file to the sums of a run folder."""
    with open(folder / "SHA256SUMS", "a") as file:
        file.write(f"{hashlib.sha256(content).hexdigest()}  {name}\n")


@pytest.mark.parametrize(
    "name",
    [
        "../../victim.txt",
        "{outside}/victim.txt",
        "..",
        ".",
        "",
        "a/../../../victim.txt",
        "tensorboard/../config.json",
        "config.json.new",
        "SHA256SUMS",
        "a\0b",
        "x" * 300,
    ],
)
def test_names_that_leave_the_run_folder(hostile, tmp_path, name):
    """A staged file would be put in the place of one outside."""
    name = name.format(outside=tmp_path)
    (tmp_path / "victim.txt.new").write_text("theirs")
    listed(hostile, name, b"theirs")
    before = files_below(tmp_path)
    for use in (
        open_run,
        RunWriter.resumed,
        lambda folder: RunWriter(folder, {}, []).save_files({"kept_1.json": "{}"}),
    ):
        with pytest.raises(InputError, match="SHA256SUMS"):
            use(hostile)
    assert {
        path: content for path, content in files_below(tmp_path).items() if path.name != "lock"
    } == before


@pytest.mark.parametrize("name", ["config.json", "classes.json", "metrics.jsonl", "last.params"])
@pytest.mark.parametrize("staged", ["", ".new"])
def test_links_in_a_run_folder_are_not_followed(hostile, tmp_path, name, staged):
    (hostile / name).rename(tmp_path / name)
    (hostile / (name + staged)).symlink_to(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is missing, damaged or changed"):
        load_network(open_run(hostile), [mx.cpu()])


def test_files_of_a_run_folder_that_are_written_replace_links(hostile, tmp_path):
    """As evaluation and staged files: what a link points at stays as it is."""
    for name in ("kept_1.json", "kept_1.json.new", "SHA256SUMS.new"):
        (hostile / name).symlink_to(tmp_path / "victim.txt")
    RunWriter.open(hostile).save_files({"kept_1.json": "{}"})
    assert (tmp_path / "victim.txt").read_text() == "mine"
    assert (hostile / "kept_1.json").read_text() == "{}" and not (
        hostile / "kept_1.json"
    ).is_symlink()


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda config: config["options"].update(image_size=10**6),
            r"options.image_size is 1000000, expected a whole number from 64 to 2048",
        ),
        (
            lambda config: config["preprocessing"].update(image_size=1024),
            r"preprocessing.image_size is 1024, expected 64",
        ),
        (
            lambda config: config["network"].update(classes=10**9),
            r"network.classes is 1000000000, expected a whole number from 2 to 10000",
        ),
        (
            lambda config: config["network"].update(classes=True),
            r"network.classes is True, expected a whole number",
        ),
        (
            lambda config: config["network"].update(classes=3),
            r"the list of classes is \['awe', 'fear'\], expected 3 different names",
        ),
        (
            lambda config: config["options"].update(style_width=10**9),
            "options.style_width is 1000000000, expected a whole number from 1 to 65536",
        ),
        (
            lambda config: config["network"].update(style_width=60000),
            "network.style_width is 60000, expected 8, as its options imply",
        ),
        (
            lambda config: config["network"].update(kind="os.system"),
            "network.kind is 'os.system', expected multi_level, as its options imply",
        ),
        (
            lambda config: config["network"].update(prefix="x"),
            "network.prefix is 'x', expected None, as its options imply",
        ),
        # as in runs from before there was a choice
        (lambda config: [config.pop("format"), config["network"].pop("widths")], None),
        (
            lambda config: config["network"].pop("widths"),
            r"network.widths is None, expected \(64, 256, 512\), as its options imply",
        ),
        (
            lambda config: config["network"].pop("backbone"),
            "network.backbone is None, expected resnet18_v2_slim, as its options imply",
        ),
        (
            lambda config: config["options"].update(backbone="pcnn_small"),
            "options.backbone is 'pcnn_small', expected one of resnet18_v2,",
        ),
        (
            lambda config: config["options"].update(epochs=float("nan")),
            "config.json is not JSON, or is damaged",
        ),
        (
            lambda config: config["options"].update(method=["l_cil"]),
            r"options.method is \['l_cil'\], expected text",
        ),
        (
            lambda config: config["options"].update(method="unknown"),
            "options.method is 'unknown', expected one of alexnet",
        ),
        (
            lambda config: config.update(format=3),
            "format is 3, but this version of mlr reads only 1 and 2; upgrade mlr",
        ),
        (
            lambda config: config["options"].update(data="a\0b"),
            "options.data is 'a.x00b', expected text of up to 4096 characters",
        ),
        (
            lambda config: config["options"].pop("seed"),
            "options.seed is None, expected a whole number from 0",
        ),
        (
            lambda config: config.pop("options"),
            "options is None, expected an object with data, seed",
        ),
        (
            lambda config: config.update(versions="1.5.1"),
            "versions is '1.5.1', expected an object with mxnet",
        ),
        (
            lambda config: config.update(argv=["mlr", 3]),
            r"argv is \['mlr', 3\], expected a list in which each item is text",
        ),
        (
            lambda config: config["data"].update(manifest=7),
            "data.manifest is 7, expected text of up to 4096 characters, or null",
        ),
        # of a later version
        (lambda config: config["options"].update(unknown={"whatever": []}), None),
    ],
)
def test_a_config_is_checked_before_anything_is_made_of_it(hostile, change, message):
    path = hostile / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    if message is None:
        load_network(sealed(hostile, path), [mx.cpu()])
        return
    with pytest.raises(InputError, match=message) as caught:
        sealed(hostile, path)
    assert str(hostile) in str(caught.value)


def test_every_option_of_a_training_has_a_rule():
    """What mlr train takes can be read from its run."""
    options = definitions()
    assert (
        set(options)
        == {field.name for field in fields(TrainingOptions)}
        == {name for method in METHODS.values() for name in method.options}
    )
    for name, option in options.items():
        for value in (
            *option.choices,
            *(getattr(method.released, name) for method in METHODS.values()),
            *(getattr(method.demo, name) for method in METHODS.values()),
        ):
            assert option.holds(value), (name, value)
        assert not option.holds(["released"])


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "classes.json",
            '["awe"]',
            "the list of classes is .*, expected at least two different names",
        ),
        ("classes.json", '["awe", "awe"]', "at least two different names"),
        ("classes.json", '["awe", ""]', "at least two different names"),
        ("classes.json", '["awe", ["fear"]]', "at least two different names"),
        ("classes.json", '{"awe": 0, "fear": 1}', "at least two different names"),
        ("classes.json", "[" * 100000, "classes.json is not JSON, or is damaged"),
        ("metrics.jsonl", '{"epoch": 2}\n', "line 1, epoch is 2, expected one of 1"),
        ("metrics.jsonl", "[]\n", "line 1 is .*, expected an object with epoch"),
        ("metrics.jsonl", '{"epoch": 1, "loss": "x"}\n', "line 1, loss is 'x', expected a number"),
        (
            "metrics.jsonl",
            '{"epoch": 1, "loss": 1}\n{"epoch": 2}\n',
            "line 2, loss is None, expected a number",
        ),
        (
            "metrics.jsonl",
            '{"epoch": 1, "loss": 1e999}\n',
            "metrics.jsonl is not JSON, or is damaged",
        ),
    ],
)
def test_what_else_a_run_says(hostile, name, content, message):
    (hostile / name).write_text(content)
    with pytest.raises(InputError, match=message):
        sealed(hostile, hostile / name)


def test_a_network_that_answers_with_no_number(hostile):
    """Finite weights, of a fitting sum, that are too large."""
    path = hostile / "last.params"
    arrays = read_params(path)
    arrays["fusion.output.weight"] = np.full_like(arrays["fusion.output.weight"], 3e38)
    write_params(
        str(path), {**arrays, "fusion.norm.beta": np.full_like(arrays["fusion.norm.beta"], 10)}
    )
    predictor = predictor_of(sealed(hostile, path), [mx.cpu()])
    with pytest.raises(
        InputError,
        match=(
            "the network of .*run, last.params, answers with NaN or infinity: its weights are "
            "damaged"
        ),
    ):
        predictor(np.full((64, 64, 3), 200, np.uint8))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("updates"),
        lambda arrays: arrays.pop("4.0"),
        lambda arrays: arrays.pop("4.1"),
        lambda arrays: arrays.update({"4.2": arrays["4.1"]}),
        lambda arrays: arrays.update({"10000.0": arrays["4.0"]}),
        lambda arrays: arrays.update({"-1.0": arrays["4.0"]}),
        lambda arrays: arrays.update({"weight": arrays["4.0"]}),
        lambda arrays: arrays.update({"4.0": arrays["4.0"][:-1]}),
        lambda arrays: arrays.update({"4.0": arrays["4.0"].T[None]}),
        lambda arrays: arrays.update({"4.0": arrays["4.0"] * np.float32(np.nan)}),
        lambda arrays: arrays.update({"4.0": arrays["4.0"].astype(np.int32)}),
        lambda arrays: arrays.update(updates=np.array([-1])),
        lambda arrays: arrays.update(updates=np.array([2**40])),
        lambda arrays: arrays.update(updates=np.array([1, 2])),
        lambda arrays: arrays.update({"running.0.0": arrays["4.0"]}),
    ],
)
def test_an_optimizers_state_is_checked_before_mxnet_sees_it(hostile, change):
    """Of fitting sums: MXNet would take a moment of another shape, and write beyond its end."""
    path = hostile / "optimizer.params"
    arrays = dict(read_params(path))
    change(arrays)
    write_params(str(path), arrays)
    with pytest.raises(InputError, match="optimizer.params"):
        read_checkpoint(hostile, path)


def test_support_vectors_of_another_run(templates, tmp_path):
    run = Path(shutil.copytree(templates / "run, support vectors", tmp_path / "run"))
    machine = support_vectors.fit(np.random.RandomState(0).normal(size=(12, 7)), [0, 1, 2] * 4)
    write_params(str(run / "svm.params"), machine.arrays())
    with pytest.raises(
        InputError,
        match="svm.params is for 3 classes and features of length 7, which are not the run's",
    ):
        predictor_of(sealed(run, run / "svm.params"), [mx.cpu()])


@pytest.mark.parametrize(
    "kernel, name", [("linear", "weights"), ("rbf", "mean"), ("rbf", "coefficients")]
)
def test_support_vectors_that_answer_with_no_number(kernel, name):
    """Finite numbers that are too large; a NaN would otherwise be a probability."""
    features = np.random.RandomState(0).normal(size=(12, 7))
    arrays = support_vectors.fit(features, [0, 1] * 6, kernel).arrays()
    arrays.update(
        {
            name: np.full_like(arrays[name], 1.7e308),
            "scale": np.full(7, 1e-300 if name == "mean" else 1.0),
        }
    )
    machine = support_vectors.SupportVectorMachine.from_arrays(arrays, "svm.params")
    with pytest.raises(
        InputError,
        match=(
            "svm.params does not hold a support vector machine, or is damaged: it answers with NaN "
            "or infinity"
        ),
    ):
        machine.probabilities(features)


def test_an_archive_with_more_than_arrays(tmp_path):
    """NumPy hands out members that are not arrays as bytes."""
    np.savez(tmp_path / "a.npz", conv1_weight=np.ones(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("conv1_bias", b"text")
    with pytest.raises(
        InputError,
        match="a.npz is not a .npz file of plain arrays, or is damaged .conv1_bias is not an array",
    ):
        read_npz(tmp_path / "a.npz")


def test_weights_in_other_files_are_not_read(tmp_path):
    """ONNX can leave its numbers to files that it names: none is opened."""
    import onnx

    tensor = onnx.numpy_helper.from_array(np.ones(3, np.float32), "conv0_weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="numbers")
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([], "model", [], [], [tensor])),
        str(tmp_path / "a.onnx"),
    )
    (tmp_path / "numbers").write_bytes(np.ones(3, np.float32).tobytes())
    with pytest.raises(
        InputError,
        match=(
            "a.onnx is not an ONNX file, or is damaged .it keeps its weights in other files, "
            "which are not read"
        ),
    ):
        read_onnx(tmp_path / "a.onnx")


def test_names_in_an_error_are_one_line(tmp_path):
    """What stands in a file must not write to the terminal what it likes."""
    mx.nd.save(str(tmp_path / "a.params"), {"\x1b[2Jgone\n": mx.nd.ones(1)})
    with pytest.raises(InputError, match=r"1 unexpected \(\\x1b\[2Jgone\\n\)"):
        set_parameters({}, read_params(tmp_path / "a.params"), "a.params")


@pytest.mark.parametrize(
    "content",
    [
        b"awe\0",
        b'"unclosed',
        b"x" * 200000 + b",\n",
        "0.jpg,-,\u00b2,\u0663,,,,\n".encode(),
        b"0.jpg,-," + b"9" * 5000 + b",1,,,,\n",
    ],
)
def test_a_damaged_journal_costs_time_alone(templates, tmp_path, content):
    """What an interrupted mlr prepare wrote is only there to save time."""
    folder = Path(shutil.copytree(templates / "journal", tmp_path / "images"))
    (folder / "examined.csv").write_bytes(content + (folder / "examined.csv").read_bytes())
    read_journal(folder, folder / "examined.csv")


@pytest.mark.parametrize(
    "row, reason",
    [
        (
            "anger/0.jpg\t5\t4\tnan\t0\t0\t0\t0\t0\t0",
            "not a file with valence, arousal and seven shares",
        ),
        (
            "anger/0.jpg\t5\t4\tinf\t0\t0\t0\t0\t0\t0",
            "not a file with valence, arousal and seven shares",
        ),
    ],
)
def test_votes_that_are_no_numbers_elect_nobody(tmp_path, row, reason):
    test_datasets.picture(tmp_path / "images" / "anger" / "0.jpg")
    (tmp_path / "ground_truth.txt").write_text(row)
    listing = DATASETS["emotion6"].read(tmp_path)
    assert not listing.rows and listing.left_out == [(row, reason)]


def test_digits_of_other_scripts_are_no_labels(tmp_path):
    """Python takes a superscript two for a digit, which it can't convert."""
    for name in ("0", "1"):
        test_datasets.picture(tmp_path / (f"{name}.jpg"))
    (tmp_path / "fi_trainimg_label.txt").write_text("0.jpg \u00b2\n1.jpg 2\n", encoding="utf-8")
    listing = DATASETS["fi"].read(tmp_path)
    assert [row.emotion for row in listing.rows] == ["awe"] and [
        row.reason for row in listing.left_out
    ] == ["not <path> <0 to 7>"]


@pytest.mark.slow
def test_what_a_reader_must_not_do_is_found(templates, tmp_path, monkeypatch):
    """To die, to hang, to take the memory, to write elsewhere: each is told of its input, and the
    next is read.
    """
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 10)
    for name in ("dies", "hangs", "raises", "writes", "params"):
        shutil.copytree(templates / "params", tmp_path / "valid" / name)
    child = Child(tmp_path / "valid", tmp_path / "child")
    assert child.ask("dies", 0)["said"] == "the process died, -9"
    assert child.ask("hangs", 0)["said"] == "no answer in 10 s"
    assert child.ask("raises", 0)["said"].startswith("MemoryError")
    assert child.ask("writes", 0)["said"].startswith("it wrote outside of its folder")
    assert child.ask("params", 0)["outcome"] in ("read", "refused")
    child.end()


if __name__ == "__main__":
    READERS.update(
        {
            name: Reader(None, read, chosen=("*.params",))
            for name, read in (
                ("dies", lambda folder, path: os.kill(os.getpid(), signal.SIGKILL)),
                ("hangs", lambda folder, path: time.sleep(60)),
                ("raises", lambda folder, path: bytearray(MEMORY * 2)),
                ("writes", lambda folder, path: (folder / "../escaped").write_text("")),
            )
        }
    )
    read_inputs(Path(sys.argv[1]), Path(sys.argv[2]))
