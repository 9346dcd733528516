"""An ONNX model of `mlr export`, read as a run: its metadata describe the run that it came from."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

from mlr.errors import InputError, shown
from mlr.formats.json import parse_json
from mlr.formats.onnx import REMEDY, read_model
from mlr.runs.schema import (
    HASHES,
    TEMPERATURES,
    TEXT,
    Refused,
    check,
    checked_classes,
    checked_config,
    checked_metrics,
    number,
    one_of,
)

if TYPE_CHECKING:
    import onnx

# The version of the metadata and of the model's input and output; other versions are refused.
CONTRACT = 1
TEXTS = ("contract", "method", "parameters", "parameters_sha256", "mlr_version")
JSON = ("classes", "preprocessing", "run")
RESULTS = "-results"  # added to the file's name: the folder for its evaluations


class ExportedRun:
    """A run, read from an ONNX model. It has the part of `mlr.runs.folder.Run` that predictions and
    evaluations need.

    Attributes: `path`, the file; `folder`, beside it, for its evaluations; `config`, `classes` and
    `metrics`, those of the run; `of_parameters`, "last" or "best", the parameters that were
    exported; `about`, the metadata; `model`, a ModelProto; `content`, the file's bytes.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Raises InputError if the file is damaged, or `mlr export` did not write it."""
        self.path = Path(path)
        self.folder = self.path.with_name(self.path.stem + RESULTS)
        self.model, self.content = read_model(path)
        self.about = _metadata(self.model, self.path)
        try:
            self._check()
        except Refused as error:
            raise InputError(f"{error.found}; {REMEDY}") from None

    def _check(self) -> None:
        about, path = self.about, self.path
        if about["contract"] != str(CONTRACT):
            raise InputError(
                f"{path} has version {shown(about['contract'], 20)} of the format that mlr export "
                f"writes, but this mlr reads version {CONTRACT}: {REMEDY} of this version"
            )
        check(about, {"parameters": one_of("last", "best"), "parameters_sha256": TEXT}, path)
        run = about["run"]
        check(run, {"config": {}, "files": HASHES}, path, "run.")
        self.config: Dict[str, Any] = checked_config(run["config"], path)
        self.classes: List[str] = checked_classes(about["classes"], path)
        metrics = run.get("metrics")
        self.metrics = checked_metrics(metrics if isinstance(metrics, list) else [None], path)
        if "temperature" in about:
            check(about, {"temperature": number(*TEMPERATURES)}, path)
        self.of_parameters: str = about["parameters"]

    def files_of(self, parameters: str) -> Dict[str, str]:
        """Return {name: SHA-256} of the run's files that the model was made from."""
        return dict(self.about["run"]["files"])

    def verified_sha256(self, name: str) -> str:
        """Return the SHA-256 of the run's parameters."""
        return self.about["parameters_sha256"]

    def temperature(self, parameters: str) -> Optional[float]:
        """Return the temperature that was fitted for the parameters, or None."""
        return self.about.get("temperature")


def _metadata(model: "onnx.ModelProto", path: Path) -> Dict[str, Any]:
    about: Dict[str, Any] = {entry.key: entry.value for entry in model.metadata_props}
    missing = [name for name in (*TEXTS, *JSON) if name not in about]
    if missing:
        raise InputError(f"{path} has no {missing[0]} in its metadata: {REMEDY}")
    for name in (*JSON, "temperature"):
        if name in about:
            about[name] = parse_json(about[name], f"the metadata entry {name} of {path}", REMEDY)
    return about
