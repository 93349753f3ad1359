"""What every test may count on: random state restored, devices found, clips and weights at hand."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _restore_random_state() -> Iterator[None]:
    """Put the random state of Python, numpy and torch back as it was before the test."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")  # loaded by the tests that need it; a second's work for the others
    torch_state = None if torch is None else torch.get_rng_state()
    yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    torch = sys.modules.get("torch")
    if torch is not None and torch_state is not None:
        torch.set_rng_state(torch_state)
    elif torch is not None:
        torch.manual_seed(0)  # the test itself loaded torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is no device."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return
    for item in gpu_items:
        item.add_marker(pytest.mark.skip(reason="no CUDA or MPS device"))


def registry_answers() -> bool:
    """Whether pip, with the user's own settings, can fetch a small package now."""
    command = [sys.executable, "-m", "pip", "--no-input", "index", "versions", "filelock", "--timeout", "15"]
    try:
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def skip_or_fail(reason: str) -> None:
    """End a test that could not fetch: failed in CI if the registry answers, skipped elsewhere."""
    if os.environ.get("CI") and registry_answers():
        pytest.fail(f"the registry answers, but: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips that the variable VADIS_CLIPS names."""
    folder = os.environ.get("VADIS_CLIPS")
    if not folder:
        pytest.skip("VADIS_CLIPS does not name a folder of clips")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"VADIS_CLIPS names {folder!r}, which is not a folder")
    return path


@pytest.fixture(scope="session")
def i3d_weights() -> Path:
    """The converted file of the published I3D (RGB, Kinetics-400); fetched once into the user's cache.

    Tests that use it carry the mark `network`.
    """
    from vadis.downloads import DownloadError
    from vadis.models.weights import pull

    try:
        return pull("i3d_inception.k400")
    except DownloadError as error:
        skip_or_fail(str(error))
        raise
