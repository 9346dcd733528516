"""From a data set to batches."""

from mxnet import gluon


def batches(dataset, transform, batch_size, shuffle=False):
    """Return an iterable over batches: images (N, 3, S, S) float32 and labels (N,), the last batch as small as it comes out.

    transform: a preset of `mlr.transforms`. shuffle: draw a new order, from NumPy's global generator, for each pass.
    """
    return gluon.data.DataLoader(dataset.transform_first(transform), batch_size, shuffle=shuffle, last_batch="keep")
