"""python tests/portable/make_model.py: make anew what the portable tests read, where MXNet is.

It trains the smallest run that the package has, on drawn images, exports it to model.onnx and, in 8
bits, to small.onnx, and writes what MXNet says of eight images into expected.json.
"""

import json
import sys
import tempfile
from pathlib import Path

from drawn import picture, write_data

import mlr
from mlr import export, train

HERE = Path(__file__).parent
SMALLEST = (
    *("--method", "shallow", "--taps", "stem", "--branch-width", "8", "--style-width", "8"),
    *("--backbone", "resnet18_v2", "--pretrained", "none", "--image-size", "64", "--epochs", "4"),
    *("--batch-size", "8", "--optimizer", "adam", "--learning-rate", "0.01", "--ctx", "cpu"),
)


def main() -> int:
    """Write the files, and return an exit code."""
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder) / "data", {"train": 48, "valid": 8, "test": 8})
        run = Path(folder) / "run"
        if train.main(["--data", str(data), "--out", str(run), *SMALLEST]):
            return 1
        for name, options in (("model", []), ("small", ["--int8", "--calibrate", str(data)])):
            path = HERE / f"{name}.onnx"
            path.unlink(missing_ok=True)
            if export.main(["--run", str(run), "--out", str(path), *options]):
                return 1
        answers = mlr.load(run, ctx="cpu")([picture(number) for number in range(8)])
    expected = [answer.probabilities for answer in answers]
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
