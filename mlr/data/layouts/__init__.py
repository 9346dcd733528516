"""The data sets of the field, as they lie on disk: a file each, found here.

A file of this package that defines a `mlr.data.layouts.data_set.DataSet` adds it; nothing else
knows a data set by name. What a file marks as inferred was seen in the code of others or follows
from counts, and is not documented by the data set's authors. Nothing heavy is loaded.
"""

import pkgutil
from importlib import import_module
from typing import Dict

from mlr.data.layouts.data_set import DataSet


def _found() -> Dict[str, DataSet]:
    """Return the data sets by name, in the order of their names."""
    modules = [import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    found = [
        value for module in modules for value in vars(module).values() if isinstance(value, DataSet)
    ]
    return {data_set.name: data_set for data_set in sorted(found, key=lambda each: each.name)}


DATASETS = _found()
