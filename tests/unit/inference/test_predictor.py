"""The library's door: a run as a function from images to predictions."""

import io
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from conftest import run_config
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

import mlr
from mlr.data.images import read_image
from mlr.data.transforms import evaluation_transform
from mlr.errors import InputError
from mlr.inference import predictor as predicting
from mlr.inference.predictor import AT_ONCE, Predictor
from mlr.methods import METHODS, load_network, open_run
from mlr.model.parameters import materialize
from mlr.predict import main
from mlr.runs.shipped import SHIPPED_RUN
from mlr.runtime.cpu import usable_cores
from mlr.viz.images import read_images_and_inputs

EXAMPLE = Path(__file__).parents[3] / "imgs" / "example.jpg"
# In probabilities: float32, in which sums are taken in another order for another batch, and by the
# fused graph (see mlr.inference.fused_graph).
WITHIN = 1e-5


@pytest.fixture(scope="module")
def predictor():
    return mlr.load(ctx="cpu")


def pictures(number, seed=0):
    """Images of different sizes and colours, so that no two have the same answer."""
    rng = np.random.RandomState(seed)
    return [
        np.clip(
            rng.randint(0, 256, 3) + rng.randint(-40, 40, (*rng.randint(40, 120, 2), 3)), 0, 255
        ).astype(np.uint8)
        for _ in range(number)
    ]


def same(answer, other, within=WITHIN):
    assert answer.probabilities.keys() == other.probabilities.keys()
    for name in answer.probabilities:
        assert_allclose(answer.probabilities[name], other.probabilities[name], rtol=0, atol=within)


def test_an_image_file(predictor):
    """Against the network, put together by hand."""
    run = open_run(SHIPPED_RUN)
    image = evaluation_transform(run.config["preprocessing"]["image_size"])(read_image(EXAMPLE))
    logits = load_network(run, [mx.cpu()])(image.expand_dims(0))
    expected = (logits / run.temperature("last")).softmax().asnumpy()[0]
    answer = predictor(str(EXAMPLE))
    for name, probability in zip(run.classes, expected):
        assert_allclose(answer.probabilities[name], probability, rtol=0, atol=WITHIN)
    assert len(answer.probabilities) == 8 and answer.label == run.classes[
        expected.argmax()
    ] == next(iter(answer.probabilities))
    assert list(answer.probabilities.values()) == sorted(
        answer.probabilities.values(), reverse=True
    )
    assert_allclose(sum(answer.probabilities.values()), 1, rtol=1e-12)  # softmax in float64
    assert {type(value) for value in answer.probabilities.values()} == {float}


def test_pixels_are_rgb(predictor):
    # a view with a negative stride
    pixels = cv2.imread(str(EXAMPLE))[:, :, ::-1]
    assert predictor(pixels) == predictor(EXAMPLE)
    assert predictor(pixels[:, :, ::-1]) != predictor(EXAMPLE)


def test_lists_and_batches_keep_the_order(predictor):
    images = pictures(2 * AT_ONCE + 3)
    alone = [predictor(image) for image in images]
    assert len({tuple(answer.probabilities.values()) for answer in alone}) == len(images)
    for answers in (predictor(images), predictor(tuple(images))):
        assert len(answers) == len(alone)
        for answer, expected in zip(answers, alone):
            same(answer, expected)
    mixed = predictor([images[0], EXAMPLE, images[1], str(EXAMPLE)])
    for answer, expected in zip(
        mixed, [alone[0], predictor(EXAMPLE), alone[1], predictor(EXAMPLE)]
    ):
        same(answer, expected)
    batch = np.stack([cv2.resize(image, (50, 60)) for image in images[:3]])  # (3, 60, 50, 3)
    for answer, image in zip(predictor(batch), batch):
        same(answer, predictor(image))
    assert predictor([]) == predictor(batch[:0]) == []
    (answer,) = predictor([EXAMPLE])
    same(answer, predictor(EXAMPLE))


def test_a_folder(predictor, tmp_path):
    for number, pixels in enumerate(pictures(AT_ONCE + 2)):
        cv2.imwrite(str(tmp_path / (f"{number:02d}.png")), pixels[:, :, ::-1])
    (tmp_path / "below").mkdir()
    shutil.copy(str(EXAMPLE), str(tmp_path / "below" / "a.JPG"))
    (tmp_path / "03.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("not looked at")
    answers = dict(predictor.folder(str(tmp_path)))
    assert list(answers) == [
        *(tmp_path / (f"{number:02d}.png") for number in range(AT_ONCE + 2)),
        tmp_path / "below" / "a.JPG",
    ]
    assert [path.name for path, answer in answers.items() if isinstance(answer, InputError)] == [
        "03.png"
    ]
    assert "03.png can't be decoded" in str(answers.pop(tmp_path / "03.png"))
    for path, answer in answers.items():
        same(answer, predictor(path))


def test_memory_is_bounded(predictor, monkeypatch):
    """While the network is at 16 images, the next 16 are read, and none beyond these."""
    read, seen = predicting.read, []
    monkeypatch.setattr(predicting, "read", lambda image: seen.append(1) or read(image))
    endless = predictor.each(itertools.repeat(pictures(1)[0]))
    for number in range(1, 2 * AT_ONCE + 2):
        next(endless)
        assert len(seen) == AT_ONCE * (2 + (number - 1) // AT_ONCE)


class Counted(np.ndarray):
    """Pixels that count how many of them there are, as large as files have them."""

    alive = most = 0

    @classmethod
    def of(cls, pixels):
        counted = pixels.view(cls)
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        weakref.finalize(counted, cls.gone)
        return counted

    @classmethod
    def gone(cls):
        cls.alive -= 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda predictor, paths: predictor.of_files(paths, list(map(str, paths))),
        lambda predictor, paths: predictor(paths),
    ],
)
def test_few_images_are_in_memory_as_large_as_they_are(predictor, tmp_path, monkeypatch, ask):
    paths = []
    for number, pixels in enumerate(pictures(70)):
        paths.append(tmp_path / (f"{number:02d}.png"))
        cv2.imwrite(str(paths[-1]), pixels)
    Counted.most, decode = 0, predicting.pixels_of
    monkeypatch.setattr(predicting, "pixels_of", lambda *arguments: Counted.of(decode(*arguments)))
    assert len(ask(predictor, paths)) == 70
    assert 1 <= Counted.most <= usable_cores() + 1 and Counted.alive == 0


class Slow:
    """A classifier that answers with the first pixel of each image, once it is told to."""

    def __init__(self):
        self.asked, self.go_on = threading.Event(), threading.Event()

    def seen(self, pixels, name):
        if "refused" in name:
            raise InputError(f"{name} has no proposals")
        return pixels[0, 0, 0]

    def probabilities(self, seen):
        self.asked.set()
        assert self.go_on.wait(60)
        return np.array([[value, 1.0] for value in seen]) / 256


def test_decoding_runs_beside_the_network_and_errors_keep_their_place(tmp_path):
    """The network's first answer waits for images behind it to be read, and would wait for ever if
    these were read after it.
    """
    paths = []
    for number in range(3 * AT_ONCE):
        paths.append(tmp_path / f"{number:02d}.png")
        cv2.imwrite(str(paths[-1]), np.full((4, 4, 3), number, np.uint8))
    paths[5].write_bytes(b"not an image")
    paths[20] = paths[20].rename(tmp_path / "refused.png")
    paths[33].unlink()
    slow, decoded = Slow(), []
    predictor = Predictor(slow, ["awe", "fear"])

    def images():
        for number, path in enumerate(paths):
            if number == AT_ONCE + 1:
                assert slow.asked.wait(60)  # the network is at the first 16, and we read on
                slow.go_on.set()
            decoded.append(number)
            yield path

    answers = list(predictor.each(images()))
    assert decoded == list(range(len(paths)))
    for number, answer in enumerate(answers):
        if number in (5, 20, 33):
            assert isinstance(answer, InputError) and paths[number].name in str(answer)
        else:
            assert answer.probabilities["awe"] == number / 256


def test_an_error_of_the_network_is_every_images_of_its_part(tmp_path):
    predictor = Predictor(Slow(), ["awe", "fear"])
    predictor.classifier.probabilities = lambda seen: (_ for _ in ()).throw(InputError("NaN"))
    answers = list(predictor.each([EXAMPLE, "nowhere.jpg", EXAMPLE]))
    assert [str(answer).partition(":")[0] for answer in answers] == [
        "NaN",
        "can't read image nowhere.jpg",
        "NaN",
    ]


def test_large_images_are_small_in_figures(tmp_path):
    pixels = cv2.resize(np.random.randint(0, 256, (20, 30, 3), dtype=np.uint8), (3000, 2000))
    cv2.imwrite(str(tmp_path / "large.png"), pixels[:, :, ::-1])
    shown, seen = read_images_and_inputs([tmp_path / "large.png", EXAMPLE], 64, mx.cpu())
    assert shown[0].shape == (683, 1024, 3) and shown[1].shape == read_image(EXAMPLE).shape
    # the network sees the whole image
    for image, path in zip(seen, (tmp_path / "large.png", EXAMPLE)):
        assert_array_equal(image.asnumpy(), evaluation_transform(64)(read_image(path)).asnumpy())


@pytest.mark.parametrize(
    "given",
    [
        lambda content: content,
        bytearray,
        memoryview,
        io.BytesIO,
        lambda content: Image.open(io.BytesIO(content)),
        lambda content: EXAMPLE.open("rb"),
        lambda content: Path(EXAMPLE),
    ],
)
def test_what_an_image_may_be(predictor, given):
    content, expected = EXAMPLE.read_bytes(), predictor(EXAMPLE)
    assert predictor(given(content)) == expected
    answer, other = predictor([given(content), EXAMPLE])
    same(answer, expected)
    same(other, expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_pil_images_are_read_as_their_files(predictor, tmp_path, mode):
    picture = Image.open(EXAMPLE)
    picture = (
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200)
        if mode == "I;16"
        else picture.convert(mode)
    )
    picture.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    assert predictor(picture) == predictor(next(tmp_path.iterdir()))


def test_the_orientation_of_a_pil_image_is_ignored(predictor, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.open(EXAMPLE).save(tmp_path / "a.png", exif=exif)
    assert predictor(Image.open(tmp_path / "a.png")) == predictor(EXAMPLE)


@pytest.mark.parametrize(
    "images, message",
    [
        (b"text", "<bytes> can't be decoded"),
        (io.BytesIO(), "image <BytesIO> is empty"),
        (io.StringIO("text"), 'opened as text: open it with mode "rb"'),
        (
            Image.new("La", (4, 4)),
            "PIL image is 4 x 4 pixels of the mode La, .*: convert it to RGB",
        ),
        ("a\0b.jpg", r"can't read image 'a\\x00b.jpg': embedded null byte"),
        (Image.new("F", (4, 4)), "PIL image is 4 x 4 pixels of the mode F, .*: convert it to RGB"),
        (None, "not a NoneType"),
        (3, "not a int"),
        ([[EXAMPLE]], "not a list"),
        (mx.nd.zeros((4, 4, 3), dtype="uint8"), "a PIL image, or a NumPy array .* not a NDArray"),
        ("nowhere.jpg", "can't read image nowhere.jpg: No such file"),
        (Path(__file__), "test_predictor.py can't be decoded"),
        ([EXAMPLE, "nowhere.jpg"], "can't read image nowhere.jpg"),
        (
            np.zeros((8, 8), np.uint8),
            r"this one is \(8, 8\) of uint8: repeat a grey channel "
            r"three times",
        ),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\) of uint8: .* remove an alpha channel"),
        (np.zeros((8, 8, 3), np.float32), r"\(8, 8, 3\) of float32: .*astype"),
        (np.zeros((2, 8, 8, 1), np.uint8), r"\(8, 8, 1\) of uint8"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
        ([np.zeros((2, 8, 8, 3), np.uint8)], r"\(2, 8, 8, 3\) of uint8"),
        ([None], "the path of an image file, .* not a NoneType"),
    ],
)
def test_what_is_no_image(predictor, images, message):
    with pytest.raises(InputError, match=message):
        predictor(images)


def test_folders_without_images(predictor, tmp_path):
    # at once, not at the first image
    with pytest.raises(InputError, match=f"no images .* in {tmp_path}"):
        predictor.folder(tmp_path)
    with pytest.raises(InputError, match=f"there is no folder {EXAMPLE}"):
        predictor.folder(EXAMPLE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"run": "nowhere"}, "nowhere is not a run folder"),
        ({"run": None}, "give a run as the path of its folder or .onnx file, not as a NoneType"),
        ({"parameters": "first"}, 'parameters must be "last" or "best", not \'first\''),
        ({"parameters": "best"}, "has no best.params: the run was shipped or converted without"),
        ({"ctx": "tpu"}, 'unknown context "tpu"'),
        ({"ctx": mx.gpu(99)}, r"gpu\(99\) is not there"),
    ],
)
def test_what_can_not_be_loaded(options, message):
    with pytest.raises(InputError, match=message):
        mlr.load(**options)


def test_contexts(predictor):
    assert predictor.ctx == mlr.load(ctx=mx.cpu()).ctx == [mx.cpu(0)]


def test_eight_threads_get_the_answers_that_one_gets(predictor):
    """Of different batch sizes, too, for each of which the static graph is made anew, and with a
    first call that is not the main thread's.
    """
    images = pictures(16)
    asked = [
        images[number] if number % 3 else images[number : number + 2]
        for number in range(len(images))
    ]
    expected = [predictor(question) for question in asked]
    for other in (predictor, mlr.load(ctx="cpu")):
        ready = threading.Barrier(8)

        def ask(thread, ready=ready, other=other):
            ready.wait()
            return [other(question) for question in asked[thread:] + asked[:thread]]

        with ThreadPoolExecutor(8) as threads:
            for thread, answers in enumerate(threads.map(ask, range(8))):
                # to the bit: each is the same computation
                assert answers == expected[thread:] + expected[:thread]


def test_threads_load_for_themselves(predictor, capfd):
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: mlr.load(ctx="cpu")(EXAMPLE), range(4)))
    assert answers == [predictor(EXAMPLE)] * 4
    assert capfd.readouterr().err == ""


def test_an_image_without_proposals_costs_no_other_its_answer(tmp_path):
    np.savez(
        str(tmp_path / "boxes.npz"),
        **{"awe/1.png": np.array([[0, 0, 40, 40, 2], [20, 10, 70, 60, 1]], float)},
    )
    (tmp_path / "awe").mkdir()
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / "awe" / name), np.full((64, 80, 3), 99, np.uint8))
    method = METHODS["ar"]
    options = replace(method.demo, proposals=str(tmp_path / "boxes.npz"))
    config = run_config(options, 2)
    net = method.build(config["network"])
    materialize(net, [mx.cpu()], mx.init.Xavier())
    regions = Predictor(method.classifier(net, config, [mx.cpu()]), ["awe", "fear"])
    unknown, known, array = regions.each(
        [tmp_path / "awe" / "2.png", tmp_path / "awe" / "1.png", np.zeros((64, 80, 3), np.uint8)]
    )
    assert known.probabilities.keys() == {"awe", "fear"}
    for error, name in ((unknown, "awe/2.png"), (array, "<array>")):
        assert isinstance(error, InputError)
        assert f"has no proposals for the image {name}" in str(error)


def forked(work):
    """Return what `work` returns in a forked process."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            # of the child: where it hangs, it ends
            signal.alarm(60)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        content = answer.read()
    os.waitpid(process, 0)
    return json.loads(content)


def test_a_forked_process_gets_answers(predictor):
    """As in multiprocessing's pools, DataLoader's workers and gunicorn: of a predictor that the
    parent loaded and asked, and of one of its own.
    """
    expected = predictor(EXAMPLE).probabilities
    assert forked(lambda: predictor(EXAMPLE).probabilities) == expected
    assert forked(lambda: mlr.load(ctx="cpu")(EXAMPLE).probabilities) == expected
    assert forked(lambda: forked(lambda: predictor(EXAMPLE).probabilities)) == expected
    assert predictor(EXAMPLE).probabilities == expected


# The command.


def test_the_standard_input_is_an_image(monkeypatch, capsys, predictor):
    for stream, code, said in (
        (io.BytesIO(EXAMPLE.read_bytes()), 0, ""),
        (io.BytesIO(), 2, "image <BytesIO> is empty"),
        (None, 2, "which is closed"),
    ):
        monkeypatch.setattr(sys, "stdin", stream and io.TextIOWrapper(stream))
        assert main(["-", "--json", "--ctx", "cpu"]) == code
        printed = capsys.readouterr()
        assert said in printed.err
        if not code:
            assert json.loads(printed.out) == {"image": "-", **predictor(EXAMPLE)._asdict()}
    assert main(["-", "-"]) == 2 and "the standard input holds one image" in capsys.readouterr().err


def test_a_pipe_is_an_image(tmp_path, capsys, predictor):
    os.mkfifo(str(tmp_path / "pipe"))
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(EXAMPLE.read_bytes(),))
    writer.start()
    assert main([str(tmp_path / "pipe"), "--json", "--ctx", "cpu"]) == 0
    writer.join()
    assert json.loads(capsys.readouterr().out)["probabilities"] == predictor(EXAMPLE).probabilities


def test_in_a_folder_regular_files_alone_are_images(tmp_path, capsys):
    os.mkfifo(str(tmp_path / "pipe.jpg"))
    (tmp_path / "album.jpg").mkdir()
    shutil.copy(str(EXAMPLE), str(tmp_path / "album.jpg" / "a.jpg"))
    (tmp_path / "link.jpg").symlink_to(EXAMPLE)
    for folder in (tmp_path, tmp_path / "album.jpg"):
        assert main([str(folder), "--json", "--ctx", "cpu"]) == 0
    named = Counter(
        Path(json.loads(line)["image"]).name for line in capsys.readouterr().out.splitlines()
    )
    assert named == {"a.jpg": 2, "link.jpg": 1}
