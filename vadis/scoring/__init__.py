"""The work behind `vadis score`: the official files in, one JSON object with the official figure out.

Each file of this package reads one family of formats and calls the pure functions of `vadis.metrics`. The
object has `metric`, `value`, `per_class`, `rule` and `source` (the script whose rule it is), then what else
that script prints, and `counts` of what was read, missing or ignored. Where a figure is undefined it is null.
A line that cannot be read ends the work: it is named by file and line.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def run_score(score: Callable[..., dict[str, Any]], *arguments: Any) -> int:
    """Print what a scorer returns as one JSON object: on one line, or indented on a terminal."""
    found = score(*arguments)
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(to_json(found), indent=indent, ensure_ascii=False, allow_nan=False))
    return 0


def to_json(value: Any) -> Any:
    """Arrays as lists, NaN and infinities as null, keys as text."""
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
