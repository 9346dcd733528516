"""python -m mlr.predict: tell the emotion of images."""

import json
import sys
from pathlib import Path

from mlr import cli
from mlr.errors import InputError
from mlr.runtime.installation import require_mxnet
from mlr.runtime.output import in_a_line


def parser():
    parser = cli.Parser("predict", __doc__)
    cli.add_run(parser, shipped=True)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE_OR_DIR",
        help=(
            "image files, pipes with one, or folders that are searched for them; - reads one "
            "image from the standard input"
        ),
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line instead of text"
    )
    cli.add_context(parser)
    return parser


def predict(options):
    require_mxnet()
    from mlr.data.walk import words_on
    from mlr.inference.reading import find_images
    from mlr.methods import load

    if options.images.count("-") > 1:
        raise InputError(
            f"- is given {options.images.count('-'):d} times, but the standard input holds one "
            "image: give it once"
        )
    if "-" in options.images and sys.stdin is None:
        raise InputError(
            "- reads an image from the standard input, which is closed: give a file, or a pipe "
            "to read from"
        )
    paths, left_out = [], []
    for argument in options.images:
        if argument != "-" and not Path(argument).exists():
            raise InputError(f"there is no image or folder {argument}")
        paths += (
            ["-"]
            if argument == "-"
            else find_images(argument, left_out)
            if Path(argument).is_dir()
            else [Path(argument)]
        )
    if left_out:
        print(words_on(left_out), file=sys.stderr)
    predictor = load(options.run, options.ctx, options.parameters)
    unread = []
    for path, answer in zip(
        paths, predictor.each(sys.stdin.buffer if path == "-" else path for path in paths)
    ):
        if isinstance(answer, InputError):
            unread.append(answer)
        elif options.json:
            print(json.dumps({"image": str(path), **answer._asdict()}))
        else:
            print(
                "{}\n{}".format(
                    in_a_line(path),
                    "\n".join(
                        f"  {in_a_line(name)!s:<14} {probability:.3f}"
                        for name, probability in answer.probabilities.items()
                    ),
                )
            )
    if unread:
        raise InputError(
            f"{unread[0]}{f' (and {len(unread) - 1:d} more images)' if len(unread) > 1 else ''}"
        )


def main(argv=None):
    return cli.run(parser(), predict, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
