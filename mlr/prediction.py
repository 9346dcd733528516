"""From images to the probabilities of classes, as each row of the table does it."""

from pathlib import Path

import numpy as np
from mxnet import nd

from mlr import engine, transforms
from mlr.data.images import read_image
from mlr.inference import fused
from mlr.params_file import read_params
from mlr.rows.affective_regions import AffectiveRegions
from mlr.rows.deepsentibank import caffe_transform
from mlr.rows.proposals import read_proposals
from mlr.rows.support_vectors import SupportVectorMachine

BATCH = 64
SVM = "svm.params"


class Predictor:
    """A trained network with what goes before and after it.

    Attributes: `net`; `classes`, K names; `ctx`; `transform`, the evaluation preset: (H, W, 3) uint8 -> (3, S, S); `machine`, for
    DeepSentiBank the SupportVectorMachine on its features; `regions`, for AR its AffectiveRegions.
    """

    def __init__(self, net, classes, config, ctx, machine=None):
        """config: of the run. ctx: list of contexts. machine: the SupportVectorMachine on the features, for DeepSentiBank."""
        self.net, self.classes, self.ctx, self.machine, self._config = net, classes, ctx, machine, config
        self.transform = evaluation_transform(config)
        self._answering = net.features if config.get("features") == "fc7" else net
        self.regions = self._affective_regions() if row_of(config) == "ar" else None

    @classmethod
    def of_run(cls, run, ctx, parameters="last"):
        """Return the predictor of a `mlr.checkpoint.Run`. Raises InputError where its files are damaged."""
        machine = None
        if row_of(run.config) == "deepsentibank":
            path = run.verified(SVM)
            machine = SupportVectorMachine.from_arrays(read_params(path), path)
        predictor = cls(run.load_network(ctx, parameters), run.classes, run.config, ctx, machine)
        predictor._answering = fused(predictor._answering)
        return predictor

    def of_files(self, paths, names):
        """Return the probabilities (N, K), float64, of the classes for image files; names: by which proposals know the images."""
        chunks = [slice(start, start + BATCH) for start in range(0, len(paths), BATCH)]
        return np.concatenate([self.of_images([read_image(path) for path in paths[part]], names[part]) for part in chunks])

    def of_images(self, images, names):
        """Return the probabilities (N, K), float64, of the classes for a list of images, (H, W, 3) uint8 RGB NDArrays."""
        if self.regions:
            return np.stack([self.regions.predict(image.asnumpy(), name).probabilities for image, name in zip(images, names)])
        batch = nd.stack(*[self.transform(image) for image in images])
        if self.machine:
            return self.machine.probabilities(self.features(batch))
        return self._softmax(batch)

    def features(self, batch):
        """Return the network's answer to a batch (N, 3, S, S), a NumPy array: logits (N, K), and for DeepSentiBank what the SVM is
        trained on, (N, D): what config.json calls `features`, fc8 or fc7."""
        return engine.predict(self._answering, [(batch, nd.zeros(len(batch)))], self.ctx)[0]

    def _softmax(self, batch):
        # In float64, where rounding doesn't make equals of the highest two.
        return nd.softmax(nd.array(self.features(batch), dtype="float64")).asnumpy()

    def _affective_regions(self):
        source, size = self._config["options"]["proposals"], self._config["preprocessing"]["image_size"]
        options = {"proposals": source}
        if Path(source).suffix in (".npz", ".mat"):
            options = {"proposals": read_proposals(source)}
        elif source != "grid":
            options = {"proposals": "edgeboxes", "model": source}

        def probabilities_of(crops):
            return self._softmax(transforms.normalized(nd.array(crops, dtype=np.uint8)))

        return AffectiveRegions(probabilities_of, size, seed=self._config["options"]["seed"], **options)


def row_of(config):
    """Return the row that a run is of; runs from before there were rows are L_cil's."""
    return config["options"].get("row", "l_cil")


def training_transform(config, augmentation):
    """Return the training preset of a run's network."""
    size = config["preprocessing"]["image_size"]
    return caffe_transform(size, train=True) if config["network"].get("kind") == "caffenet" else transforms.training_transform(size, augmentation)


def evaluation_transform(config):
    """Return the evaluation preset of a run's network."""
    size = config["preprocessing"]["image_size"]
    return caffe_transform(size) if config["network"].get("kind") == "caffenet" else transforms.evaluation_transform(size)
