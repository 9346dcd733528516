"""python -m mlr.predict: tell the emotion of images."""

import json
import sys
from pathlib import Path

from mlr import command
from mlr.errors import InputError
from mlr.installation import require_mxnet
from mlr.pictures import name_of

BATCH = 16


def parser():
    parser = command.Parser("predict", __doc__)
    command.add_run(parser, shipped=True)
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_DIR", help="image files, or folders that are searched for them")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of text")
    command.add_context(parser)
    return parser


def predict(options):
    require_mxnet()
    from mlr.checkpoint import Run
    from mlr.context import parse_context
    from mlr.prediction import Predictor

    ctx = parse_context(options.ctx)[0]
    paths = find_images(options.images)
    run = Run.open(options.run)
    predictor = Predictor.of_run(run, [ctx], options.parameters)
    unread = []
    for path, probabilities in predictions(predictor, paths):
        if isinstance(probabilities, InputError):
            unread.append(probabilities)
            continue
        ranked = sorted(zip(run.classes, probabilities.tolist()), key=lambda item: -item[1])
        if options.json:
            print(json.dumps({"image": str(path), "label": ranked[0][0], "probabilities": dict(ranked)}))
        else:
            print("%s\n%s" % (path, "\n".join("  %-14s %.3f" % item for item in ranked)))
    if unread:
        raise InputError("%s%s" % (unread[0], " (and %d more images)" % (len(unread) - 1) if len(unread) > 1 else ""))


def find_images(arguments):
    """Return the image files that the arguments name; of folders, all images in and below them, in order."""
    from mlr.data.folder import EXTENSIONS

    paths = []
    for argument in map(Path, arguments):
        if argument.is_dir():
            found = sorted(path for path in argument.rglob("*") if path.suffix.lower() in EXTENSIONS)
            if not found:
                raise InputError("no images (%s) in %s" % (", ".join(EXTENSIONS), argument))
            paths += found
        elif argument.exists():
            paths.append(argument)
        else:
            raise InputError("there is no image or folder %s" % argument)
    return paths


def predictions(predictor, paths):
    """Yield for each file its path and the class probabilities (K,), or the InputError that tells why it can't be read."""
    from mlr.data.images import checked_bytes, read_image

    for start in range(0, len(paths), BATCH):
        images, faults = {}, {}
        for path in paths[start:start + BATCH]:
            try:
                checked_bytes(path)
                images[path] = read_image(path)
            except InputError as error:
                faults[path] = error
        answers = {}
        # The regions of an image are its own, and one without proposals must not cost the others their answers.
        for part in ([path] for path in images) if predictor.regions else [list(images)] if images else []:
            try:
                answers.update(zip(part, predictor.of_images([images[path] for path in part], [name_of(path) for path in part])))
            except InputError as error:
                faults.update((path, error) for path in part)
        for path in paths[start:start + BATCH]:
            yield path, answers.get(path, faults.get(path))


def main(argv=None):
    return command.run(parser(), predict, argv)


if __name__ == "__main__":
    sys.exit(main())
