"""What the released code makes of an image file, pixel by pixel: its reader, and its two chains of
transforms.

The photographs are the two that scikit-learn carries.
"""

import os
import random
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
import sklearn.datasets
from mxnet import gluon, nd
from mxnet.gluon.data.vision import ImageFolderDataset, transforms
from PIL import Image

from mlr.data.folder import ImageFolder
from mlr.data.images import pixels_of, read_bytes, read_image
from mlr.data.transforms import evaluation_transform, training_transform

PHOTOGRAPHS = [
    Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")
]

# The released chains, model/train.py, number by number.
RELEASED_TRAINING = [
    lambda: transforms.Resize((256, 256)),
    lambda: transforms.RandomResizedCrop(224, scale=(0.08, 1.0), ratio=(3.0 / 4.0, 4.0 / 3.0)),
    lambda: transforms.RandomFlipLeftRight(),
    lambda: transforms.RandomColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
    lambda: transforms.RandomLighting(0.1),
    lambda: transforms.ToTensor(),
    lambda: transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
]
RELEASED_EVALUATION = [
    lambda: transforms.Resize((224, 224)),
    lambda: transforms.ToTensor(),
    lambda: transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
]


def remarked(content, form):
    """Return a CMYK JPEG whose mark by Adobe says YCCK, or is left out."""
    mark = content.index(b"Adobe")
    if form == "ycck":
        return content[: mark + 11] + b"\2" + content[mark + 12 :]
    return (
        content[: mark - 4] + content[mark - 2 + int.from_bytes(content[mark - 2 : mark], "big") :]
    )


def save_progressive(photograph, path, unfinished):
    """Write a progressive JPEG; unfinished: its last scans, with the last bits, are left out."""
    photograph.save(path, progressive=True)
    if unfinished:
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b"\xff\xc4")] + b"\xff\xd9")


def save(photograph, path, form):
    """Write a form of a photograph that people's folders hold."""
    if form.startswith("exif"):
        exif = Image.Exif()
        exif[0x0112] = int(form[4:])  # the orientation tag
        photograph.save(path, exif=exif)
    elif form == "transparent":
        photograph = photograph.convert("RGBA")
        photograph.putalpha(Image.linear_gradient("L").resize(photograph.size))
        photograph.save(path)
    elif form == "16-bit grey":
        Image.fromarray(np.asarray(photograph.convert("L")).astype(np.uint16) * 257).save(path)
    elif form.startswith("progressive"):
        save_progressive(photograph, path, form.endswith("unfinished"))
    elif form in ("4:4:0", "4:2:2", "4:4:4", "4:1:1"):
        sampling = getattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR_" + form.replace(":", ""))
        cv2.imwrite(
            str(path),
            np.asarray(photograph)[:, :, ::-1],
            [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling],
        )
    elif form in ("ycck", "cmyk, unmarked"):
        save(photograph, path, "cmyk")
        path.write_bytes(remarked(path.read_bytes(), form))
    elif form == "16-bit colour":
        cv2.imwrite(str(path), np.asarray(photograph).astype(np.uint16) * 250 + 77)
    elif form == "animated":
        photograph.save(path, save_all=True, append_images=[photograph.rotate(90)])
    elif form == "transparent palette":
        photograph.quantize(16).save(path, transparency=3)
    else:
        photograph.convert(
            {"grey": "L", "cmyk": "CMYK", "rgb": "RGB", "palette": "P", "black and white": "1"}[
                form
            ]
        ).save(path)
    return path


FORMS = [
    ("rgb", "jpg"),
    ("rgb", "png"),
    ("grey", "jpg"),
    ("grey", "png"),
    ("cmyk", "jpg"),
    ("progressive", "jpg"),
    ("palette", "png"),
    ("black and white", "png"),
    ("transparent", "png"),
    ("progressive, unfinished", "jpg"),
    ("4:4:0", "jpg"),
    ("4:2:2", "jpg"),
    ("4:4:4", "jpg"),
    ("4:1:1", "jpg"),
    ("ycck", "jpg"),
    ("cmyk, unmarked", "jpg"),
    ("16-bit colour", "png"),
    ("animated", "png"),
    ("transparent palette", "png"),
    ("16-bit grey", "png"),
    *((f"exif{number:d}", "jpg") for number in range(1, 9)),
]
# left, top, right, bottom
BOXES = [
    (0, 0, 640, 427),
    (30, 20, 333, 227),
    (5, 5, 6, 205),
    (5, 5, 205, 6),
    (7, 7, 8, 8),
    (0, 0, 224, 224),
]


@pytest.fixture(params=PHOTOGRAPHS, ids=lambda path: path.stem)
def photograph(request):
    return Image.open(request.param)


def seeded(transform, image, number):
    random.seed(number)
    np.random.seed(number)
    mx.random.seed(number)
    return transform(image).asnumpy()


def differing(ours, expected):
    assert ours.shape == expected.shape and ours.dtype == expected.dtype
    return np.count_nonzero(ours != expected)


@pytest.mark.parametrize("form, extension", FORMS)
def test_files_are_read_as_in_the_released_code(photograph, tmp_path, form, extension, fidelity):
    path = save(photograph.crop(BOXES[1]), tmp_path / ("a." + extension), form)
    expected = mx.image.imread(str(path)).asnumpy()
    for pixels in (read_image(path).asnumpy(), pixels_of(read_bytes(path), path)):
        fidelity("pixels of image files that differ", differing(pixels, expected), 0)


def test_what_the_original_does_with_each_form(photograph, tmp_path):
    """Orientation and transparency are ignored, 16 bits lose the lower 8, grey becomes three equal
    channels, CMYK OpenCV's RGB.
    """
    crop = photograph.crop(BOXES[1])

    def pixels(form, extension):
        return read_image(save(crop, tmp_path / ("a." + extension), form)).asnumpy()

    upright = pixels("rgb", "jpg")
    for number in range(1, 9):
        assert not differing(pixels(f"exif{number:d}", "jpg"), upright)
    assert not differing(pixels("transparent", "png"), pixels("rgb", "png"))
    assert not differing(pixels("16-bit grey", "png"), pixels("grey", "png"))
    grey = pixels("grey", "png")
    assert not differing(grey, np.repeat(np.asarray(crop.convert("L"))[:, :, None], 3, axis=2))
    cmyk = pixels("cmyk", "jpg")
    assert not differing(cmyk, cv2.imread(str(tmp_path / "a.jpg"))[:, :, ::-1])
    # grey levels: JPEG's loss, not the negative that some readers make of it
    assert np.abs(cmyk.astype(float) - upright).mean() < 10


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    "form, extension", [("rgb", "jpg"), ("grey", "jpg"), ("cmyk", "jpg"), ("exif6", "jpg")]
)
def test_the_evaluation_preset_is_the_released_chain(
    photograph, tmp_path, box, form, extension, fidelity
):
    path = save(photograph.crop(box), tmp_path / ("a." + extension), form)
    released = transforms.Compose([make() for make in RELEASED_EVALUATION])(
        mx.image.imread(str(path))
    ).asnumpy()
    ours = evaluation_transform()(read_image(path)).asnumpy()
    assert ours.shape == (3, 224, 224)
    fidelity("pixels of the evaluation preset that differ", differing(ours, released), 0)


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("box", BOXES)
def test_the_training_preset_is_the_released_chain(photograph, box, number, fidelity):
    image = nd.array(np.asarray(photograph.crop(box)), dtype="uint8")
    released = seeded(transforms.Compose([make() for make in RELEASED_TRAINING]), image, number)
    fidelity(
        "pixels of the training preset that differ",
        differing(seeded(training_transform(), image, number), released),
        0,
    )


@pytest.mark.parametrize("step", [0, 3, 4], ids=["resize", "color", "lighting"])
def test_a_step_left_out_of_the_training_preset_shows(photograph, step):
    """So that the comparison above can't pass by accident."""
    image = nd.array(np.asarray(photograph), dtype="uint8")
    chain = transforms.Compose(
        [make() for number, make in enumerate(RELEASED_TRAINING) if number != step]
    )
    ours = seeded(training_transform(), image, 5)
    # not of what is clipped to white or black
    assert differing(seeded(chain, image, 5), ours) > ours.size / 4


def test_normalization_is_numpys(photograph):
    """Independent of gluon's transforms: pixels / 255, minus the mean, over the deviation."""
    image = nd.array(np.asarray(photograph.resize((224, 224))), dtype="uint8")
    expected = (image.asnumpy() / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    # float32 of numbers up to 3: an ulp is 2.4e-7, and there are three operations.
    np.testing.assert_allclose(
        evaluation_transform()(image).asnumpy(), expected.transpose(2, 0, 1), atol=1e-6
    )


def test_batches_of_a_folder_are_those_of_the_released_loader(tmp_path, fidelity):
    """From files to batches: order, labels and pixels of gluon's ImageFolderDataset and DataLoader
    with the released chain.
    """
    from mlr.data.loader import GluonBatches

    for number, (box, name) in enumerate(
        zip(BOXES, ("awe", "fear", "awe", "anger", "fear", "awe"))
    ):
        os.makedirs(str(tmp_path / name), exist_ok=True)
        save(
            Image.open(PHOTOGRAPHS[number % 2]).crop(box),
            tmp_path / name / (f"{number:d}.jpg"),
            "rgb",
        )
    released = ImageFolderDataset(str(tmp_path))
    ours = ImageFolder(tmp_path)
    assert ours.classes == released.synsets
    loader = gluon.data.DataLoader(
        released.transform_first(transforms.Compose([make() for make in RELEASED_EVALUATION])),
        4,
        shuffle=False,
        last_batch="keep",
    )
    for (images, labels), (expected, true) in zip(
        GluonBatches(ours, evaluation_transform(), 4), loader
    ):
        fidelity(
            "pixels of loaded batches that differ",
            differing(images.asnumpy(), expected.asnumpy()),
            0,
        )
        assert labels.asnumpy().tolist() == true.asnumpy().tolist()
    assert len(ours) == 6
