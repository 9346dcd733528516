"""The paper's structure figure, drawn from a network itself."""

from typing import Dict, List, Mapping, Tuple

from mlr.viz.style import own_settings  # isort: split

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from mxnet import Context, nd

from mlr.model.network import MultiLevelNet
from mlr.viz.figures import BLUE, CAPTION, GREEN, ORANGE, new_figure

Boxes = Dict[str, Tuple[int, int, str, str]]
Arrows = List[Tuple[str, str]]

DEEP, SHALLOW, FUSION = BLUE, ORANGE, GREEN


def boxes_and_arrows(net: MultiLevelNet, size: int) -> Tuple[Boxes, Arrows]:
    """Return the boxes of a materialized MultiLevelNet and the arrows between them, for images of
    size x size.

    boxes: {name: (column, row, text, colour)}; the backbone is in row 0. arrows: [(name, name)].
    """
    levels = net.backbone.levels
    *found, deep = net.backbone(nd.zeros((1, 3, size, size), ctx=_context(net)))
    maps = dict(zip(levels, found))
    boxes: Boxes = {"image": (0, 0, f"image\n3 x {size:d} x {size:d}", "0.5")}
    for column, name in enumerate(levels, start=1):
        channels, height, width = maps[name].shape[1:]
        boxes[name] = column, 0, f"{name}\n{channels:d} x {height:d} x {width:d}", DEEP
    boxes["deep"] = len(levels) + 1, 0, f"deep semantic\nrepresentation\n{deep.shape[1]:d}", DEEP
    arrows = list(zip(("image", *levels), (*levels, "deep")))
    _add_shallow(net, {name: values.shape[1] for name, values in maps.items()}, boxes, arrows)
    classes, both = net.fusion.output.weight.shape
    boxes["fusion"] = (
        len(levels),
        2,
        f"{net.fusion.kind} {both:d}\nbatch norm\nDense {classes:d}",
        FUSION,
    )
    boxes["logits"] = len(levels) + 1, 2, f"logits\n{classes:d} emotions", FUSION
    arrows += [("deep", "fusion"), ("shallow", "fusion"), ("fusion", "logits")]
    return boxes, arrows


def _add_shallow(
    net: MultiLevelNet, channels: Mapping[str, int], boxes: Boxes, arrows: Arrows
) -> None:
    """Add the shallow branches and the layers that mix them. channels: those of each of the
    backbone's maps.
    """
    widths = 0
    for number, (tap, branch) in enumerate(zip(net.taps, net.shallow.branches)):
        *before, dense = branch.layers
        width = dense.weight.shape[0]
        pool = "max-pool\n" if len(before) > 1 else ""
        boxes[f"branch {number:d}"] = (
            net.backbone.levels.index(tap) + 1,
            1,
            f"{pool}Gram matrix\n{channels[tap]:d} x {channels[tap]:d}\nDense {width:d}",
            SHALLOW,
        )
        arrows.append((tap, f"branch {number:d}"))
        widths += width
    dropout, dense, _ = net.shallow.mix
    style = dense.weight.shape[0]
    boxes["style"] = (
        2,
        2,
        f"concat {widths:d}\nDropout {dropout._rate:.1f}\nDense {style:d}",
        SHALLOW,
    )
    arrows += [(f"branch {number:d}", "style") for number in range(len(net.taps))]
    boxes["shallow"] = 4, 2, f"shallow visual\nrepresentation\n{style:d}", SHALLOW
    arrows.append(("style", "shallow"))


def structure_figure(net: MultiLevelNet, size: int) -> Figure:
    """Return the figure of a materialized MultiLevelNet for images of size x size."""
    boxes, arrows = boxes_and_arrows(net, size)
    figure, axes = new_figure(1.6 * (1 + max(column for column, *_ in boxes.values())), 5)
    plot_structure(boxes, arrows, axes)
    return figure


@own_settings()
def plot_structure(boxes: Boxes, arrows: Arrows, axes: Axes) -> Axes:
    """Draw boxes and arrows as `boxes_and_arrows` returns them."""
    patches = {}
    for name, (column, row, text, color) in boxes.items():
        patches[name] = axes.add_patch(
            FancyBboxPatch(
                (column - 0.41, -row - 0.3),
                0.82,
                0.6,
                boxstyle="round,pad=0.02",
                facecolor="white",
                edgecolor=color,
                linewidth=2,
            )
        )
        axes.text(column, -row, text, ha="center", va="center", fontsize=CAPTION + 1)
    for start, end in arrows:
        axes.add_patch(
            FancyArrowPatch(
                (boxes[start][0], -boxes[start][1]),
                (boxes[end][0], -boxes[end][1]),
                patchA=patches[start],
                patchB=patches[end],
                arrowstyle="-|>",
                mutation_scale=14,
                color="0.3",
                shrinkA=0,
                shrinkB=0,
            )
        )
    axes.set(xlim=(-0.5, max(column for column, *_ in boxes.values()) + 0.5), ylim=(-2.4, 0.4))
    axes.set_axis_off()
    return axes


def _context(net: MultiLevelNet) -> Context:
    return net.fusion.output.weight.list_ctx()[0]
