"""python -m mlr.serve: a page on this machine that tells the emotion of photographs, and POST
/predict for programs.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Callable, List, Optional

from mlr import cli
from mlr.runtime.installation import require_mxnet, require_package
from mlr.runtime.output import warn

if TYPE_CHECKING:
    from mlr.inference.predictor import Predictor
    from mlr.serving.app import View

HOST, PORT = "127.0.0.1", 8000


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("serve", __doc__)
    cli.add_run(parser, shipped=True)
    parser.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help=(
            f"the address to listen on; any but this machine's own lets others in (default: {HOST})"
        ),
    )
    parser.add_argument(
        "--port",
        type=cli.number(int, 0, 65535),
        default=PORT,
        metavar="N",
        help=f"the port to listen on; 0 takes a free one (default: {PORT})",
    )
    cli.add_context(parser)
    return parser


def serve(options: argparse.Namespace) -> None:
    """Serve a run until a signal ends it."""
    for package in ("fastapi", "uvicorn", "python_multipart"):
        require_package(package, "web", "mlr serve")
    require_mxnet()
    from mlr import __version__
    from mlr.methods import load
    from mlr.serving import server
    from mlr.serving.app import Served, app_of

    with server.listen(options.host, options.port) as listening:
        predictor = load(options.run, options.ctx, options.parameters)
        name = Path(options.run).resolve().name
        served = Served(name, predictor.classes, predictor.each, views_of(predictor))
        if not server.is_loopback(options.host):
            warn(
                f"--host {options.host}: whoever reaches this machine over the network can use "
                "the server, without a password and unencrypted"
            )
        print(f"{name} is served at {server.address_of(listening)} (Ctrl-C ends it)", flush=True)
        server.serve(app_of(served, __version__, options.host), listening)


def views_of(predictor: "Predictor") -> "Optional[Callable[[BinaryIO], List[View]]]":
    """Return what draws an image as the network sees it, or None of a predictor whose network has
    no maps.
    """
    net = getattr(predictor, "net", None)
    if net is None:  # of an engine that has the whole answer alone
        return None
    from mlr.model.network import MultiLevelNet

    if not isinstance(net, MultiLevelNet):
        return None
    from mlr.inference.predictor import on_mxnets_thread
    from mlr.inference.reading import name_in_messages, pixels_of, read
    from mlr.viz.overlays import overlays

    def views(image: BinaryIO) -> "List[View]":
        content = read(image)

        def drawn() -> "List[View]":
            pixels = pixels_of(content, name_in_messages(image))
            seen = predictor.transform(pixels).expand_dims(0).as_in_context(predictor.ctx[0])
            return list(overlays(net, pixels.asnumpy(), seen, predictor.classes))

        return on_mxnets_thread(drawn)

    return views


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), serve, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
