"""OpenCV and processes: its threads do not survive a fork."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_after_fork_does_not_miss_the_threads_that_it_has_not() -> None:
    """OpenCV's pool of threads is not copied by fork: without its end before, the child hangs or crashes."""
    script = (
        "import os\nimport numpy as np\nfrom vadis.video.flow import estimate_flow\n"
        "from vadis.video.opencv_flow import opencv\n"
        "opencv().setNumThreads(4)\n"
        "frames = np.random.default_rng(0).integers(0, 256, (3, 256, 340, 3), dtype=np.uint8)\n"
        "wanted = estimate_flow(frames, 'dis').fields_THW2\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    opencv().setNumThreads(1)\n"  # as a loader's workers do: ends threads that are not there
        "    os._exit(0 if np.allclose(estimate_flow(frames, 'dis').fields_THW2, wanted) else 3)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert opencv().getNumThreads() == 4\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
