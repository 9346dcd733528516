"""python -m mlr.predict: predict the emotion that images evoke."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Optional, Tuple, Union

from mlr import cli
from mlr.errors import InputError
from mlr.runtime.cpu import compute_beside_others
from mlr.runtime.output import in_a_line

if TYPE_CHECKING:
    from mlr.data.walk import LeftOut
    from mlr.inference.predictor import Prediction

STANDARD_INPUT = "-"


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("predict", __doc__)
    cli.add_run(parser, shipped=True, exported=True)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE_OR_DIR",
        help=(
            "image files, pipes that carry an image, or folders, which are searched for images; - "
            "reads one image from the standard input"
        ),
    )
    parser.add_argument(
        "--json", action="store_true", help="print one line of JSON for each image instead of text"
    )
    cli.add_engine(parser)
    cli.add_context(parser)
    return parser


def predict(options: argparse.Namespace) -> None:
    """Print a run's predictions for images, one by one; at the end name those that can't be read,
    and raise InputError if there are any.
    """
    from mlr.data.walk import words_on
    from mlr.methods import load

    paths, left_out = images_of(options.images)
    if left_out:
        print(words_on(left_out), file=sys.stderr)
    compute_beside_others()
    predictor = load(options.run, options.ctx, options.parameters, options.engine)
    images = (sys.stdin.buffer if path == STANDARD_INPUT else path for path in paths)
    unread = []
    for path, prediction in zip(paths, predictor.each(images)):
        if isinstance(prediction, InputError):
            unread.append(prediction)
        elif options.json:
            print(json.dumps({"image": str(path), **prediction._asdict()}))
        else:
            print("\n".join(described(path, prediction)))
    for error in unread[:-1]:
        cli.print_error("mlr predict", error)
    if unread:
        raise unread[-1]


def images_of(arguments: List[str]) -> "Tuple[List[Union[str, Path]], List[LeftOut]]":
    """Return the images that the arguments name, "-" for the standard input, and the files in the
    given folders that are left out.

    Raises InputError if a path does not exist, or the standard input can't be read.
    """
    from mlr.inference.reading import find_images

    times = arguments.count(STANDARD_INPUT)
    if times > 1:
        raise InputError(
            f"- is given {times} times, but the standard input holds one image: give it once"
        )
    if times and sys.stdin is None:
        raise InputError(
            "- reads an image from the standard input, which is closed: give a file, or a pipe "
            "to read from"
        )
    paths: List[Union[str, Path]] = []
    left_out: List[LeftOut] = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            paths.append(argument)
        elif not os.path.exists(argument):  # Path's raises for a name that is too long
            raise InputError(f"there is no image or folder {argument}: check its path")
        else:
            is_folder = Path(argument).is_dir()
            paths += find_images(argument, left_out) if is_folder else [Path(argument)]
    return paths, left_out


def described(path: Union[str, Path], prediction: "Prediction") -> Iterator[str]:
    """Yield the lines of the text: the image, and the probability of each class."""
    yield in_a_line(path)
    for name, probability in prediction.probabilities.items():
        yield f"  {in_a_line(name):<14} {probability:.3f}"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), predict, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
