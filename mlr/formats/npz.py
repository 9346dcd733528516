"""Reads NumPy's .npz files safely: nothing is unpickled."""

import zipfile
from pathlib import Path
from typing import Dict, Union

import numpy as np

from mlr.errors import InputError, shown

MOST_BYTES = 2**32  # of an .npz file, unpacked

# Converts a dictionary {layer: {kind: array}}, or {layer: [weights, biases]} as older converters
# wrote it.
UNPICKLE = (
    'python -c "import numpy as np; layers = np.load({!r}, allow_pickle=True, '
    "encoding='latin1').item(); np.savez({!r}, "
    "**{{layer + '_' + kind: array for layer, arrays in layers.items() for kind, array in "
    "(arrays.items() if hasattr(arrays, 'items') else zip(('weights', 'biases'), arrays))}})\""
)


def read_npz(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """Return the arrays of an .npz file, {name: NumPy array}.

    Nothing is unpickled. Raises InputError if it is not such a file, is damaged, or holds Python
    objects. Some tools save a dictionary of weights as a .npy file, which is a pickle; the error
    then says how to convert it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"parameter file {path} does not exist")
    if path.suffix.lower() == ".npy":
        raise InputError(
            f"{path} is not read: a dictionary of weights in a .npy file is a pickle, which "
            "can run "
            "any program when it is opened. If you trust the file, convert it "
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
            if not isinstance(array, np.ndarray):  # NumPy returns other members as bytes
                raise ValueError(f"{name} is not an array")
        return arrays
    except Exception as error:  # zipfile, zlib and NumPy raise nearly everything on damaged files
        raise InputError(
            f"{path} is not a .npz file of plain arrays, or is damaged ({shown(str(error))}): "
            "make it with numpy.savez, or get it again"
        ) from None
