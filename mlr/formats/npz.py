"""NumPy's .npz files, read safely: nothing is unpickled."""

import zipfile
from pathlib import Path
from typing import Dict, Union

import numpy as np

from mlr.errors import InputError, shown

MOST_BYTES = 2**32  # of an .npz file, unpacked

# For a dictionary {layer: {kind: array}}, or {layer: [weights, biases]} as older converters wrote
# it.
UNPICKLE = (
    'python -c "import numpy as np; layers = np.load({!r}, allow_pickle=True, '
    "encoding='latin1').item(); np.savez({!r}, "
    "**{{layer + '_' + kind: array for layer, arrays in layers.items() for kind, array in "
    "(arrays.items() if hasattr(arrays, 'items') else zip(('weights', 'biases'), arrays))}})\""
)


def read_npz(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """Return the arrays of an .npz file, {name: NumPy array}, nothing unpickled. Raises InputError
    where it is none, or holds objects.

    People also have dictionaries of weights as .npy files, which are pickles: for these the error
    says how to convert them.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"parameter file {path} does not exist")
    if path.suffix.lower() == ".npy":
        raise InputError(
            f"{path} is not read: as .npy a dictionary of weights is a pickle, which can run any "
            "program when it is opened. Where you trust it, convert it "
            f"once:\n{UNPICKLE.format(str(path), str(path.with_suffix('.npz')))}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"it claims {size / 2**30:.0f} GiB")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy hands out other members as they are
                raise ValueError(f"{name} is no array")
        return arrays
    except Exception as error:  # of a damaged file zipfile, zlib and NumPy raise nearly everything
        raise InputError(
            f"{path} is no .npz file of plain arrays, or a damaged one ({shown(str(error))}): "
            "make it with numpy.savez, or get it again"
        ) from None
