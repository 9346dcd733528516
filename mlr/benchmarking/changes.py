"""What changed since an earlier benchmark, beyond the spread of the rounds."""

import math
import statistics
from pathlib import Path
from typing import Any, Dict, List, Mapping

from mlr.errors import InputError
from mlr.formats.json import read_json

REMEDY = "give a file that mlr benchmark wrote"


def read_benchmark(path: Path) -> Dict[str, Any]:
    """Return what an earlier benchmark wrote.

    Raises InputError if the file is missing, damaged, or of a version that did not write ratios.
    """
    found = read_json(path, REMEDY)
    if not isinstance(found, dict) or not isinstance(found.get("ratios"), dict):
        raise InputError(
            f"{path} has no ratios: it is no benchmark, or from before version 0.2.0: {REMEDY}"
        )
    try:
        for ratio in found["ratios"].values():
            bool(ratio["lower_is_better"]), [math.isfinite(value) for value in ratio["rounds"]]
            statistics.median(ratio["rounds"])
        str(found["machine"]["processor"]), str(found["version"]), str(found["date"])
    except (KeyError, TypeError, ValueError, statistics.StatisticsError):
        raise InputError(f"{path} is damaged: {REMEDY}") from None
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> List[str]:
    """Return lines that say which ratios changed: all rounds of now are above or below all rounds
    of before.

    path: of before, for the first line.
    """
    both = [name for name in now["ratios"] if name in before["ratios"]]
    changed = [line for line in (_change(before, now, name) for name in both) if line]
    lines = [
        f"against {path} (mlr {before['version']}, {before['date']}): {len(changed):d} of "
        f"{len(both):d} ratios changed beyond the spread of the rounds"
    ]
    machines = [each["machine"]["processor"] for each in (before, now)]
    if machines[0] != machines[1]:
        lines.append(f"it is from another processor, {machines[0]}: expect other ratios")
    return [*lines, *changed]


def _change(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> str:
    """Return the line of a ratio that changed, "" for one that did not."""
    rounds = [each["ratios"][name]["rounds"] for each in (before, now)]
    higher, lower = min(rounds[1]) > max(rounds[0]), max(rounds[1]) < min(rounds[0])
    if not higher and not lower:
        return ""
    word = "worse" if higher == now["ratios"][name]["lower_is_better"] else "better"
    old, new = (
        f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in rounds
    )
    return f"{word}: {name}: {old} before, {new} now"
