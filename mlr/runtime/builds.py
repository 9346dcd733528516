"""Finds which builds of MXNet are installed, without importing MXNet."""

import re
from importlib import metadata
from typing import Dict, Tuple

NAMES = re.compile(r"mxnet(-(mkl|native|cu\d+(mkl)?))?")


def installed_builds() -> Dict[str, str]:
    """Return {distribution: version} of the installed MXNet builds, such as {"mxnet-mkl": "1.5.1"}.

    All builds install the same module `mxnet`, so if there are several, each has overwritten files
    of the earlier ones. If there is none, MXNet may still be installed from source.
    """
    builds: Dict[str, str] = {}
    for distribution in metadata.distributions():
        name = re.sub("[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if NAMES.fullmatch(name):
            builds.setdefault(name, distribution.version)
    return builds


def version_numbers(version: str) -> Tuple[int, ...]:
    """Return the first two numbers of a version: (1, 5) for "1.5.1"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
