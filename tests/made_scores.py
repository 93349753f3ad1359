"""Made scores of streams that know different classes, for the tests of fusion."""

from typing import Any

import numpy as np

from vadis.score_files import ScoreFile, make_scores


def make_stream(
    sees: tuple[int, ...],
    *,
    num: int = 120,
    num_classes: int = 6,
    noise: float = 1.0,
    first: int = 0,
    seed: int = 0,
    loud: float = 1.0,
    **options: Any,
) -> ScoreFile:
    """A stream that knows the classes of `sees` and guesses the others; video i has the label i % classes.

    noise: standard deviation in logits; loud: what its logits are multiplied by, a factor.
    """
    rng = np.random.default_rng([seed, first, *sees])
    label_N = np.arange(first, first + num) % num_classes
    logits_NK = noise * rng.normal(size=(num, num_classes))
    for row, label in enumerate(label_N):
        logits_NK[row, label] += 3.0 * (label in sees)
    given: dict[str, Any] = {
        "names": [f"v{first + row:04d}" for row in range(num)],
        "class_names": [f"class {label}" for label in range(num_classes)],
        "labels": [(int(label),) for label in label_N],
        "split": "test",
        "model": "stream" + "".join(map(str, sees)),
        "videos": tuple(f"v{first + row:04d}.mp4" for row in range(num)),
        "dataset": "made",
    } | options
    return make_scores(logits_NK=loud * logits_NK, **given)
