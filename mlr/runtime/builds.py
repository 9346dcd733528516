"""Which builds of MXNet are installed, told without importing any."""

import re
from importlib import metadata
from typing import Dict, Tuple

NAMES = re.compile(r"mxnet(-(mkl|native|cu\d+(mkl)?))?")


def installed_builds() -> Dict[str, str]:
    """Return {distribution: version} of the MXNet builds that are installed, "mxnet-mkl": "1.5.1".

    Of more than one each has overwritten files of those before it, as all are the one module mxnet.
    Without one MXNet may still be there, built from source.
    """
    builds: Dict[str, str] = {}
    for distribution in metadata.distributions():
        name = re.sub("[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if NAMES.fullmatch(name):
            builds.setdefault(name, distribution.version)
    return builds


def version_numbers(version: str) -> Tuple[int, ...]:
    """Return the first two numbers of a version, (1, 5) of "1.5.1"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
