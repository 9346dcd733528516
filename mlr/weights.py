"""python -m mlr.weights: list the ImageNet weights for --pretrained zoo, download them, or check
whether a file of weights fits a backbone.

For each backbone, --pretrained zoo uses the first of its files that is in MXNet's cache, else the
first that can be downloaded. To download from another host, set MXNET_GLUON_REPO for the Gluon zoo,
or HF_ENDPOINT for the Hugging Face hub, which has the ONNX model zoo's files.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

from mlr import cli
from mlr.model.backbones import BACKBONES, anatomy_of
from mlr.runtime.hashing import sha256_of
from mlr.runtime.installation import require_mxnet

if TYPE_CHECKING:
    from mlr.model.parameters import ParametersError


def parser() -> cli.Parser:
    """Return the parser of this command's options."""
    parser = cli.Parser("weights", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=_ParserOfAction)
    actions.add_parser("list", help="list the files of every backbone (the default action)")
    get = actions.add_parser("get", help="download a backbone's file into MXNet's cache")
    get.add_argument("name", metavar="NAME", help="the backbone")
    check = actions.add_parser(
        "check", help="check whether a file fits: exit code 0 if it does, else 2"
    )
    check.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a .params, .onnx, .npz or .safetensors file, as for --pretrained",
    )
    check.add_argument("--backbone", required=True, metavar="NAME", help="the backbone")
    return parser


class _ParserOfAction(cli.Parser):
    def __init__(self, prog: str) -> None:
        super().__init__(prog.partition(" ")[2], None)


def weights(options: argparse.Namespace) -> None:
    """Run the action, by default list."""
    require_mxnet()
    if options.action == "get":
        get_weights(options.name)
    elif options.action == "check":
        check_weights(options.file, options.backbone)
    else:
        list_weights()


def list_weights() -> None:
    """Print every backbone's files, without a network connection."""
    from mlr.model.zoo_files import cache_folder, cached_file, zoo_files

    cache = cache_folder()
    print(
        f"--pretrained zoo uses the first file that is here, in {cache}, else the first that can "
        "be downloaded"
    )
    for backbone in BACKBONES:
        files, found = zoo_files(backbone), cached_file(backbone)
        print(f"\n{backbone}")
        for file in files:
            path = cache / file.name
            here = path == found or file.is_right(path)  # cached_file has already checked the hash
            state = "here" if here else "damaged" if path.exists() else "not here"
            size = "-" if file.size is None else f"{file.size / 1e6:.1f} MB"
            print(f"  {file.name:<34} {size:>9}  {state:<8}  {file.digest}")
            print(f"    {file.address}")
        if found and found.name not in [file.name for file in files]:
            print(f"  {found.name:<34} {'-':>9}  here, from another version of MXNet")
        if not files:
            print("  - no zoo has weights for it: give --pretrained FILE, or none")


def get_weights(backbone: str) -> None:
    """Download a backbone's weights, unless they are in the cache, and print their path."""
    from mlr.model.zoo_files import zoo_file

    anatomy_of(backbone)
    print(zoo_file(backbone))


def check_weights(path: Path, backbone: str) -> None:
    """Print whether a file fits a backbone. If it does not, print all names that don't fit, and
    raise InputError.
    """
    from mlr.model.backbone import Backbone
    from mlr.model.parameters import ParametersError, infer_shapes
    from mlr.model.pretrained import load_file

    network = Backbone(backbone)
    infer_shapes(network)
    try:
        load_file(network, path)
    except ParametersError as error:
        _print_misfits(error)
        raise
    print(
        f"{path} fits {backbone} by the names and shapes of its "
        f"{len(network.structural_parameters)} parameters, SHA-256 {sha256_of(path)}"
    )


def _print_misfits(error: "ParametersError") -> None:
    kinds = {
        "missing": error.missing,
        "unexpected": error.unexpected,
        "wrongly shaped": error.wrongly_shaped,
        "no numbers": error.not_numbers,
    }
    for kind, names in kinds.items():
        for name in names:
            print(f"{kind:<14}  {name}")


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command and return its exit code."""
    return cli.run(parser(), weights, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
