"""How often a damaged video shows a wrong picture as a good one, by container and by kind of damage.

    python benchmarks/mutations.py [NUM_CASES]

Runs tests/mutation_server.py (1000 cases by default, about 20 s) and prints, for each row: cases, frames
given as good, the share of them that differs from the pristine video (at all; visibly), frames flagged as
corrupt and the share of those that are in truth the same, and errors.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERVER = Path(__file__).resolve().parent.parent / "tests" / "mutation_server.py"


def measure(num_cases: int) -> list[dict[str, Any]]:
    """Run the cases and read their JSON lines."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SERVER), folder, str(num_cases)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [row for row in rows if "case" in row]


def describe(name: str, cases: list[dict[str, Any]]) -> str:
    """One line of the table."""

    def total(*keys: str) -> int:
        return sum(case.get(key, 0) for case in cases for key in keys)

    good, flagged = total("good"), total("flagged")
    differs = total("good_differs", "good_misplaced") / max(good, 1)
    visible = total("good_visible", "good_misplaced") / max(good, 1)
    false_alarms = 1 - total("flagged_differs", "flagged_misplaced") / flagged if flagged else 0.0
    errors = sum(case["outcome"] == "error" for case in cases)
    return (
        f"{name:14} {len(cases):6} {good:7} {differs:9.1%} {visible:9.1%} "
        f"{flagged:8} {false_alarms:9.1%} {errors:7}"
    )


def main() -> None:
    """Print the table."""
    cases = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    columns = (
        ("cases", 6),
        ("good", 7),
        ("differ", 9),
        ("visibly", 9),
        ("flagged", 8),
        ("in vain", 9),
        ("errors", 7),
    )
    print(" " * 14 + "".join(f" {name:>{width}}" for name, width in columns))
    print(describe("all", cases))
    keys: list[Callable[[dict[str, Any]], str]] = [lambda case: case["video"], lambda case: case["mutation"]]
    for key in keys:
        for name in dict.fromkeys(map(key, cases)):
            print(describe(name, [case for case in cases if key(case) == name]))
    strange = [case for case in cases if case["outcome"] not in ("report", "error")]
    seconds, memory = max(case["seconds"] for case in cases), max(case["peak_mib"] for case in cases)
    print(
        f"crashes, hangs, untyped errors: {len(strange)}; slowest {seconds:.2f} s, most memory {memory} MiB"
    )


if __name__ == "__main__":
    main()
