"""An ONNX model of `mlr export` as a run: what its metadata say of the run that it was made of."""

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

# Of what the metadata say and of the model's input and output. Another version is refused.
CONTRACT = 1
TEXTS = ("contract", "method", "parameters", "parameters_sha256", "mlr_version")
JSON = ("classes", "preprocessing", "run")
RESULTS = "-results"  # behind the file's name, the folder of what is measured


class ExportedRun:
    """What `mlr.runs.folder.Run` tells of a run, as far as predictions and evaluations ask, read
    from an ONNX model.

    Attributes: `path`, the file; `folder`, of what is measured, beside it; `config`, `classes` and
    `metrics`, as of the run; `of_parameters`, "last" or "best"; `about`, the metadata; `model`, a
    ModelProto, and `content`, the file's bytes.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Raises InputError where the file is damaged, or no model of `mlr export`."""
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
                f"{path} is of version {shown(about['contract'], 20)} of the contract between mlr "
                f"export and mlr predict, and this mlr reads {CONTRACT}: {REMEDY} of this version"
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
        """Return {name: SHA-256} of what of the run the model was made of."""
        return dict(self.about["run"]["files"])

    def verified_sha256(self, name: str) -> str:
        """Return the SHA-256 of the run's parameters."""
        return self.about["parameters_sha256"]

    def temperature(self, parameters: str) -> Optional[float]:
        """Return the temperature that was fitted for the parameters, None where there is none."""
        return self.about.get("temperature")


def _metadata(model: "onnx.ModelProto", path: Path) -> Dict[str, Any]:
    about: Dict[str, Any] = {entry.key: entry.value for entry in model.metadata_props}
    missing = [name for name in (*TEXTS, *JSON) if name not in about]
    if missing:
        raise InputError(f"{path} has no {missing[0]} in its metadata: {REMEDY}")
    for name in (*JSON, "temperature"):
        if name in about:
            about[name] = parse_json(about[name], f"{path}, {name} of its metadata,", REMEDY)
    return about
