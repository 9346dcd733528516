"""A network of the Gluon model zoo that returns its maps, for the shallow branches."""

from typing import Any, Tuple

from mxnet.gluon import HybridBlock

from mlr.model.backbones import anatomy_of
from mlr.model.zoo import names_in_zoo, zoo_network
from mlr.paper import BACKBONE, IMAGE_SIZE


class Backbone(HybridBlock):
    """The layers of a zoo network before its classifier; its levels are named children.

    name: one of `mlr.model.backbones.BACKBONES`. image_size: S, which sets the shape of the fully
    connected layers of AlexNet and VGG; the other networks ignore it. Input: images (N, 3, H, W),
    normalised. Output: a tuple, the maps in the order of `levels` and the deep semantic
    representation. For ResNet-50 v2 and 224 px: stem (N, 64, 112, 112), pool (N, 64, 56, 56),
    stage1 (N, 256, 56, 56), stage2 (N, 512, 28, 28), stage3 (N, 1024, 14, 14), stage4 (N, 2048, 7,
    7), deep (N, 2048).

    Attributes: `name_in_zoo`; `levels`, the names of the maps; `blocks`, the four levels that the
    paper's figure shows; `width`, D; `image_size`, None if it has no effect; and, for reading
    weights, `structural_parameters`, `prefixed_parameters` and `left_out`, as in
    `mlr.model.zoo.ParameterNames`. Raises InputError for an unknown name.
    """

    def __init__(self, name: str = BACKBONE, image_size: int = IMAGE_SIZE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        anatomy = anatomy_of(name)
        with self.name_scope():
            zoo = zoo_network(name)
            for level, place in anatomy.levels.items():
                part = place if isinstance(place, int) else slice(*place)
                setattr(self, level, zoo.features[part])
            # the head: global average pooling, or fully connected layers
            self.head = zoo.features[anatomy.head :]
        self.name_in_zoo, self.width = name, anatomy.width
        self.levels, self.blocks = tuple(anatomy.levels), anatomy.blocks
        self.image_size = image_size if anatomy.fully_connected else None
        self.structural_parameters, self.prefixed_parameters, self.left_out = names_in_zoo(zoo)

    def hybrid_forward(self, F: Any, images: Any) -> Tuple[Any, ...]:
        """Gluon's forward pass: return the maps and the deep representation of images."""
        maps = []
        for level in self.levels:
            images = getattr(self, level)(images)
            maps.append(images)
        return (*maps, self.head(images))
