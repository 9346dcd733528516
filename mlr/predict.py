"""python -m mlr.predict: tell the emotion of images."""

import json
import sys
from pathlib import Path

from mlr import command
from mlr.errors import InputError
from mlr.installation import require_mxnet
from mlr.output import in_a_line


def parser():
    parser = command.Parser("predict", __doc__)
    command.add_run(parser, shipped=True)
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help=(
        "image files, pipes with one, or folders that are searched for them; - reads one image from the standard input"))
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of text")
    command.add_context(parser)
    return parser


def predict(options):
    require_mxnet()
    from mlr.data.walk import words_on
    from mlr.prediction import find_images, load

    if options.images.count("-") > 1:
        raise InputError("- is given %d times, but the standard input holds one image: give it once" % options.images.count("-"))
    if "-" in options.images and sys.stdin is None:
        raise InputError("- reads an image from the standard input, which is closed: give a file, or a pipe to read from")
    paths, left_out = [], []
    for argument in options.images:
        if argument != "-" and not Path(argument).exists():
            raise InputError("there is no image or folder %s" % argument)
        paths += ["-"] if argument == "-" else find_images(argument, left_out) if Path(argument).is_dir() else [Path(argument)]
    if left_out:
        print(words_on(left_out), file=sys.stderr)
    predictor = load(options.run, options.ctx, options.parameters)
    unread = []
    for path, answer in zip(paths, predictor.each(sys.stdin.buffer if path == "-" else path for path in paths)):
        if isinstance(answer, InputError):
            unread.append(answer)
        elif options.json:
            print(json.dumps({"image": str(path), **answer._asdict()}))
        else:
            print("%s\n%s" % (in_a_line(path), "\n".join(
                "  %-14s %.3f" % (in_a_line(name), probability) for name, probability in answer.probabilities.items())))
    if unread:
        raise InputError("%s%s" % (unread[0], " (and %d more images)" % (len(unread) - 1) if len(unread) > 1 else ""))


def main(argv=None):
    return command.run(parser(), predict, argv)


if __name__ == "__main__":
    sys.exit(command.leave_if_stopped(main()))
