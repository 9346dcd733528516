"""The library's door: a run as a function from images to predictions."""

import itertools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlr
from mlr import prediction
from mlr.checkpoint import Run
from mlr.command import SHIPPED_RUN
from mlr.data.images import read_image
from mlr.errors import InputError
from mlr.prediction import AT_ONCE, Predictor
from mlr.presets import DEMO
from mlr.rows.networks import network_options, new_network
from mlr.transforms import evaluation_transform
from mlr.weights import materialize

EXAMPLE = Path(__file__).parent.parent / "imgs" / "example.jpg"
# In probabilities: float32, in which sums are taken in another order for another batch, and by the fused graph (see mlr.inference).
WITHIN = 1e-5


@pytest.fixture(scope="module")
def predictor():
    return mlr.load(ctx="cpu")


def pictures(number, seed=0):
    """Images of different sizes and colours, so that no two have the same answer."""
    rng = np.random.RandomState(seed)
    return [np.clip(rng.randint(0, 256, 3) + rng.randint(-40, 40, (*rng.randint(40, 120, 2), 3)), 0, 255).astype(np.uint8) for _ in range(number)]


def same(answer, other, within=WITHIN):
    assert answer.probabilities.keys() == other.probabilities.keys()
    for name in answer.probabilities:
        assert_allclose(answer.probabilities[name], other.probabilities[name], rtol=0, atol=within)


def test_an_image_file(predictor):
    """Against the network, put together by hand."""
    run = Run.open(SHIPPED_RUN)
    image = evaluation_transform(run.config["preprocessing"]["image_size"])(read_image(EXAMPLE))
    expected = run.load_network([mx.cpu()])(image.expand_dims(0)).softmax().asnumpy()[0]
    answer = predictor(str(EXAMPLE))
    for name, probability in zip(run.classes, expected):
        assert_allclose(answer.probabilities[name], probability, rtol=0, atol=WITHIN)
    assert len(answer.probabilities) == 8 and answer.label == run.classes[expected.argmax()] == next(iter(answer.probabilities))
    assert list(answer.probabilities.values()) == sorted(answer.probabilities.values(), reverse=True)
    assert_allclose(sum(answer.probabilities.values()), 1, rtol=1e-12)          # softmax in float64
    assert {type(value) for value in answer.probabilities.values()} == {float}


def test_pixels_are_rgb(predictor):
    pixels = cv2.imread(str(EXAMPLE))[:, :, ::-1]                                # a view with a negative stride
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
    for answer, expected in zip(mixed, [alone[0], predictor(EXAMPLE), alone[1], predictor(EXAMPLE)]):
        same(answer, expected)
    batch = np.stack([cv2.resize(image, (50, 60)) for image in images[:3]])      # (3, 60, 50, 3)
    for answer, image in zip(predictor(batch), batch):
        same(answer, predictor(image))
    assert predictor([]) == predictor(batch[:0]) == []
    answer, = predictor([EXAMPLE])
    same(answer, predictor(EXAMPLE))


def test_a_folder(predictor, tmp_path):
    for number, pixels in enumerate(pictures(AT_ONCE + 2)):
        cv2.imwrite(str(tmp_path / ("%02d.png" % number)), pixels[:, :, ::-1])
    (tmp_path / "below").mkdir()
    shutil.copy(str(EXAMPLE), str(tmp_path / "below" / "a.JPG"))
    (tmp_path / "03.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("not looked at")
    answers = dict(predictor.folder(str(tmp_path)))
    assert list(answers) == [*(tmp_path / ("%02d.png" % number) for number in range(AT_ONCE + 2)), tmp_path / "below" / "a.JPG"]
    assert [path.name for path, answer in answers.items() if isinstance(answer, InputError)] == ["03.png"]
    assert "03.png can't be decoded" in str(answers.pop(tmp_path / "03.png"))
    for path, answer in answers.items():
        same(answer, predictor(path))


def test_memory_is_bounded(predictor, monkeypatch):
    read, seen = prediction._read, []
    monkeypatch.setattr(prediction, "_read", lambda image: seen.append(1) or read(image))
    endless = predictor.each(itertools.repeat(pictures(1)[0]))
    for number in range(1, AT_ONCE + 2):
        next(endless)
        assert len(seen) == (AT_ONCE if number <= AT_ONCE else 2 * AT_ONCE)


@pytest.mark.parametrize("images, message", [
    ("nowhere.jpg", "can't read image nowhere.jpg: No such file"),
    (Path(__file__), "test_prediction.py can't be decoded"),
    ([EXAMPLE, "nowhere.jpg"], "can't read image nowhere.jpg"),
    (np.zeros((8, 8), np.uint8), r"this one is \(8, 8\) of uint8: repeat grey three times"),
    (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\) of uint8: .* leave alpha out"),
    (np.zeros((8, 8, 3), np.float32), r"\(8, 8, 3\) of float32: .*astype"),
    (np.zeros((2, 8, 8, 1), np.uint8), r"\(8, 8, 1\) of uint8"),
    (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
    ([np.zeros((2, 8, 8, 3), np.uint8)], r"\(2, 8, 8, 3\) of uint8"),
    ([None], "a path or a NumPy array .* not a NoneType"),
])
def test_what_is_no_image(predictor, images, message):
    with pytest.raises(InputError, match=message):
        predictor(images)


def test_folders_without_images(predictor, tmp_path):
    with pytest.raises(InputError, match="no images .* in %s" % tmp_path):       # at once, not at the first image
        predictor.folder(tmp_path)
    with pytest.raises(InputError, match="there is no folder %s" % EXAMPLE):
        predictor.folder(EXAMPLE)


@pytest.mark.parametrize("options, message", [
    ({"run": "nowhere"}, "nowhere is not a run folder"), ({"parameters": "first"}, 'parameters are "last" or "best", not \'first\''),
    ({"parameters": "best"}, "has no best.params"), ({"ctx": "tpu"}, 'unknown context "tpu"'), ({"ctx": mx.gpu(99)}, r"gpu\(99\) is not there"),
])
def test_what_can_not_be_loaded(options, message):
    with pytest.raises(InputError, match=message):
        mlr.load(**options)


def test_contexts(predictor):
    assert predictor.ctx == mlr.load(ctx=mx.cpu()).ctx == [mx.cpu(0)]


def test_eight_threads_get_the_answers_that_one_gets(predictor):
    """Of different batch sizes, too, for each of which the static graph is made anew, and with a first call that is not the main thread's."""
    images = pictures(16)
    asked = [images[number] if number % 3 else images[number:number + 2] for number in range(len(images))]
    expected = [predictor(question) for question in asked]
    for other in (predictor, mlr.load(ctx="cpu")):
        ready = threading.Barrier(8)

        def ask(thread):
            ready.wait()
            return [other(question) for question in asked[thread:] + asked[:thread]]

        with ThreadPoolExecutor(8) as threads:
            for thread, answers in enumerate(threads.map(ask, range(8))):
                assert answers == expected[thread:] + expected[:thread]          # to the bit: each is the same computation


def test_threads_load_for_themselves(predictor, capfd):
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: mlr.load(ctx="cpu")(EXAMPLE), range(4)))
    assert answers == [predictor(EXAMPLE)] * 4
    assert capfd.readouterr().err == ""


def test_an_image_without_proposals_costs_no_other_its_answer(tmp_path):
    np.savez(str(tmp_path / "boxes.npz"), **{"awe/1.png": np.array([[0, 0, 40, 40, 2], [20, 10, 70, 60, 1]], float)})
    (tmp_path / "awe").mkdir()
    for name in ("1.png", "2.png"):
        cv2.imwrite(str(tmp_path / "awe" / name), np.full((64, 80, 3), 99, np.uint8))
    net = new_network(network_options(DEMO["ar"], 2))
    materialize(net, [mx.cpu()], mx.init.Xavier())
    config = {"options": {"row": "ar", "proposals": str(tmp_path / "boxes.npz"), "seed": 0}, "preprocessing": {"image_size": DEMO["ar"].image_size},
              "network": {}}
    regions = Predictor(net, ["awe", "fear"], config, [mx.cpu()])
    unknown, known, array = regions.each([tmp_path / "awe" / "2.png", tmp_path / "awe" / "1.png", np.zeros((64, 80, 3), np.uint8)])
    assert known.probabilities.keys() == {"awe", "fear"}
    for error, name in ((unknown, "awe/2.png"), (array, "<array>")):
        assert isinstance(error, InputError) and "has no proposals of image %s" % name in str(error)
