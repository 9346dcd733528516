"""How long a person waits for the first answer of `mlr predict`, and for each command's help."""

import statistics
import time
from typing import Dict, List, Mapping, Sequence

from mlr.benchmarking.contestants import CHECKOUT, run_command


def start_times(rounds: int, commands: Sequence[str]) -> Dict[str, float]:
    """Return the median seconds from the start of `mlr predict` to its first answer with the
    shipped run, and the median seconds that the --help of each command takes.
    """
    photo = str(CHECKOUT / "imgs" / "example.jpg")
    timed = {
        "mlr predict, first answer": ["predict", photo],
        **{f"mlr {name} --help": [name, "--help"] for name in commands},
    }
    seconds: Dict[str, List[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, arguments in timed.items():
            start = time.perf_counter()
            run_command(arguments)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def start_lines(start: Mapping[str, float]) -> List[List[str]]:
    """Return the cells of the first answer and of the slowest --help. start: what `start_times`
    returned.
    """
    if not start:
        return []
    predict, slowest = (
        start["mlr predict, first answer"],
        max((value, name) for name, value in start.items() if name.endswith("--help")),
    )
    return [
        [
            what,
            "",
            f"{value:.2f} s",
            "",
            *["", f"at most {target} s", "yes" if value <= target else "no"],
        ]
        for what, value, target in (
            ("mlr predict, first answer", predict, 3),
            (slowest[1] + ", the slowest", slowest[0], 0.5),
        )
    ]
