"""python -m mlr.serve: a web page on this machine that predicts the emotions of photographs, and
POST /predict for programs.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Callable, List, Optional

from mlr import cli
from mlr.runtime.installation import require_package
from mlr.runtime.output import warn

if TYPE_CHECKING:
    from mlr.inference.predictor import Predictor
    from mlr.serving.app import View

HOST, PORT = "127.0.0.1", 8000


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("serve", __doc__)
    cli.add_run(parser, shipped=True, exported=True)
    parser.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help=(
            "the address to listen on; an address other than a loopback one lets other machines "
            f"connect (default: {HOST})"
        ),
    )
    parser.add_argument(
        "--port",
        type=cli.number(int, 0, 65535),
        default=PORT,
        metavar="N",
        help=f"the port to listen on; 0 takes a free one (default: {PORT})",
    )
    cli.add_engine(parser)
    cli.add_context(parser)
    return parser


def serve(options: argparse.Namespace) -> None:
    """Serve a run until a signal ends it."""
    for package in ("fastapi", "uvicorn", "python_multipart"):
        require_package(package, "web", "mlr serve")
    from mlr import __version__
    from mlr.methods import answering, method_of, open_run
    from mlr.serving import server
    from mlr.serving.app import Served, app_of

    with server.listen(options.host, options.port) as listening:
        run = open_run(options.run)
        predictor = answering(run, options.ctx, options.parameters, options.engine)
        has_maps = "grad-cam" in method_of(run.config).views
        views = views_of(predictor) if has_maps else None
        name = Path(options.run).resolve().name
        if not server.is_loopback(listening.getsockname()[0]):
            warn(
                f"--host {options.host}: everyone who can reach this machine over the network can "
                "use the server, without a password and unencrypted"
            )
        print(f"{name} is served at {server.address_of(listening)} (Ctrl-C ends it)", flush=True)
        served = Served(name, predictor.classes, predictor.each, views)
        server.serve(app_of(served, __version__, options.host), listening)


def views_of(predictor: "Predictor") -> "Optional[Callable[[BinaryIO], List[View]]]":
    """Return the function that draws what a multi-level network sees in an image, or None if its
    engine has no Grad-CAM, as for a model in 8 bits.
    """
    import numpy as np

    from mlr.errors import InputError
    from mlr.inference.reading import name_in_messages, pixels_of, read
    from mlr.runtime.network_thread import on_networks_thread
    from mlr.viz.overlays import overlays

    classifier = predictor.classifier
    try:
        size = classifier.size
        on_networks_thread(classifier.grad_cam, np.zeros((1, 3, size, size), np.float32))
    except InputError:
        return None

    def views(image: BinaryIO) -> "List[View]":
        pixels = pixels_of(read(image), name_in_messages(image))
        return on_networks_thread(lambda: list(overlays(classifier, pixels, predictor.classes)))

    return views


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), serve, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
