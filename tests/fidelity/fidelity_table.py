"""Print what the fidelity tests saw on each build, the largest differences from the original, as a
Markdown table.

    python tests/fidelity/fidelity_table.py BUILD=FILE ...

FILE is what pytest --fidelity FILE wrote on that build.

Exits with 1 where a difference is above its bound, or a build lacks a check that another has.
"""

import json
import sys


def read(path):
    """Return {what: (largest difference, bound)} of a file."""
    checks = {}
    with open(path) as lines:
        for line in map(json.loads, lines):
            largest, _ = checks.get(line["what"], (0.0, None))
            checks[line["what"]] = max(largest, line["difference"]), line["bound"]
    return checks


def main(arguments):
    builds = dict(argument.split("=", 1) for argument in arguments)
    seen = {build: read(path) for build, path in builds.items()}
    checks = {what: bound for results in seen.values() for what, (_, bound) in results.items()}
    rows = [["largest difference of", "bound", *builds], ["---"] * (2 + len(builds))]
    fine = bool(checks)
    for what, bound in checks.items():
        differences = [results[what][0] if what in results else None for results in seen.values()]
        rows.append(
            [
                what,
                f"{bound:.0e}" if bound else "0",
                *("missing" if d is None else f"{d:.1e}" if d else "0" for d in differences),
            ]
        )
        fine = fine and all(d is not None and d <= bound for d in differences)
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
