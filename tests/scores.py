"""Print the score of make coverage or make mutants from the tool's JSON; exit 1 below the bound.

python tests/scores.py coverage|mutants < FILE.json
"""

import json
import sys

LINES, MUTANTS = 0.92, 0.85  # at least


def coverage(report):
    """Print the parts of the lines and of the branches that ran; return the lines' and its bound.

    report: what `coverage json` writes.
    """
    totals = report["totals"]
    lines = totals["covered_lines"] / totals["num_statements"]
    branches = totals["covered_branches"] / totals["num_branches"]
    print(f"lines {lines:.1%} (at least {LINES:.0%}), branches {branches:.1%}")
    return lines, LINES


def mutants(report):
    """Print how many mutants died; return their part of those that ran, and its bound.

    report: what `mutmut export-cicd-stats` writes. A mutant that hangs or crashes is found, too;
    one that no test goes through lives.
    """
    died = report["killed"] + report["timeout"] + report["segfault"] + report["suspicious"]
    ran = report["total"] - report["skipped"]
    print(f"mutants {ran}, died {died}: {died / ran:.1%} (at least {MUTANTS:.0%})")
    return died / ran, MUTANTS


if __name__ == "__main__":
    score, bound = {"coverage": coverage, "mutants": mutants}[sys.argv[1]](json.load(sys.stdin))
    sys.exit(score < bound)
