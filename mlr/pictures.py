"""Pictures to be looked at: as they are, as the network sees them, and small."""

from pathlib import Path


def read_pictures(paths, image_size, ctx):
    """Return the images as they are, a list of (H, W, 3) uint8, and as the network sees them, NDArray (N, 3, S, S).

    Raises InputError, naming the file, for the first that is missing or damaged.
    """
    from mxnet import nd

    from mlr.data.images import checked_bytes, read_images
    from mlr.transforms import evaluation_transform

    for path in paths:
        checked_bytes(path)
    pictures = read_images(paths)
    transform = evaluation_transform(image_size)
    return [picture.asnumpy() for picture in pictures], nd.stack(*[transform(picture) for picture in pictures]).as_in_context(ctx)


def name_of(path):
    """Return the name by which a file of proposals knows an image: <class>/<file>, the last two parts of its path."""
    return "/".join(Path(path).parts[-2:])


def thumbnail(path, longest=200):
    """Return an image, (h, w, 3) uint8 RGB, scaled down where its longest side has more pixels than that.

    Raises InputError, naming the file, where it is missing or damaged.
    """
    import cv2

    from mlr.data.images import decode, read_bytes

    pixels = decode(read_bytes(path), path)
    scale = longest / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1]), interpolation=cv2.INTER_AREA)
    return pixels[:, :, ::-1]
