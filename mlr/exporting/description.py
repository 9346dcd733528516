"""The description that accompanies a network exported for programs without this package."""

from typing import Any, Dict, Mapping

from mlr import __version__
from mlr.runs.exported import CONTRACT
from mlr.runs.folder import Run

PHOTOGRAPHS = "RGB, uint8, (H, W, 3) of any size; EXIF orientation is ignored, as in training"


def description(
    run: Run, preprocessing: Mapping[str, Any], parameters: str = "last"
) -> Dict[str, Any]:
    """Return the description of a run's network, for JSON: method, classes, preprocessing, hash of
    the parameters, version, and the temperature, if there is one.

    preprocessing: the steps of `mlr.data.preprocessing.Preprocessing`.
    """
    temperature = run.temperature(parameters)
    return {
        **({} if temperature is None else {"temperature": temperature}),
        "method": run.config["options"]["method"],
        "network": run.config["network"],
        "classes": run.classes,
        "photographs": PHOTOGRAPHS,
        "preprocessing": dict(preprocessing),
        "parameters": parameters,
        "parameters_sha256": run.sha256(f"{parameters}.params"),
        "mlr_version": __version__,
    }


def output_of(meaning: str, about: Mapping[str, Any]) -> str:
    """Return the meaning of an output; it mentions the temperature if the description has one."""
    divided = ", after the logits are divided by the temperature"
    return meaning + (divided if "temperature" in about else "")


def contract(run: Run, parameters: str = "last") -> Dict[str, Any]:
    """Return the metadata that `mlr.runs.exported` reads from an ONNX model in addition to the
    description.
    """
    return {
        "contract": CONTRACT,
        "run": {
            "config": run.config,
            "metrics": run.metrics,
            "files": run.files_of(parameters),
        },
    }
