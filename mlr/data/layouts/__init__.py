"""Readers of the field's data sets in their layouts on disk, one file for each data set.

To add a data set, define a `mlr.data.layouts.data_set.DataSet` in a file of this package; no other
code names a data set. "Inferred" in these files means that the data set's authors did not document
it: it comes from the code of others, or follows from counts. These files import nothing heavy.
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
