"""Our networks against the implementations that people use: seconds, and memory, of one step.

    python benchmarks/models.py [--only PATTERN] [--rounds N] [--device cuda]

Same shapes, same weights where names allow it, eager PyTorch, in turns in one run: forward in eval mode
without gradients, and forward with backward in training mode. Rivals: torchvision (a dependency of vadis),
pytorchvideo and transformers (`pip install -e '.[peers]'`; left out where they are not installed). A ratio
above 1 means that ours is faster. Memory is what one step adds to a fresh process of its own (on a GPU,
what PyTorch's allocator peaks at), theirs divided by ours.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vadis.models import create_model
from vadis.models.nonlocal_net import NonLocal, Pairwise


class Pair(NamedTuple):
    """One network of ours and its rival: names, makers, shape of the input, and how theirs takes it."""

    name: str
    rival: str
    package: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module]
    shape: tuple[int, ...]
    feed: Callable[[Tensor], Any] = lambda clip: clip


def from_torchvision(name: str) -> nn.Module:
    """A video network of torchvision, untrained."""
    import torchvision.models.video

    return getattr(torchvision.models.video, name)(weights=None)


def from_pytorchvideo(name: str) -> nn.Module:
    """A network of pytorchvideo's model zoo, untrained."""
    import pytorchvideo.models.hub

    return getattr(pytorchvideo.models.hub, name)(pretrained=False)


def pathways(alpha: int) -> Callable[[Tensor], list[Tensor]]:
    """What pytorchvideo's SlowFast wants: the slow frames picked beforehand, as its users do it."""

    def feed(clip: Tensor) -> list[Tensor]:
        frames = torch.linspace(0, clip.shape[2] - 1, clip.shape[2] // alpha).long()
        return [clip[:, :, frames.to(clip.device)], clip]

    return feed


def from_transformers(attention: str) -> nn.Module:
    """transformers' TimeSformer of the base size, logits only."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = TimesformerConfig(attention_type=attention, num_labels=400, num_frames=8)
            self.network = TimesformerForVideoClassification(config)

        def forward(self, clip_BCTHW: Tensor) -> Tensor:
            return self.network(clip_BCTHW.transpose(1, 2)).logits

    return Logits()


def our_nonlocal(channels: int, pairwise: Pairwise) -> nn.Module:
    """Our non-local block with 1x2x2 pooling of keys and values."""
    return NonLocal(channels, pairwise=pairwise, pool=(1, 2, 2))


def nonlocal_of_pytorchvideo(channels: int, pairwise: Pairwise) -> nn.Module:
    """pytorchvideo's layer of the same kind."""
    from pytorchvideo.layers.nonlocal_net import create_nonlocal

    return create_nonlocal(
        dim_in=channels,
        dim_inner=channels // 2,
        pool_size=(1, 2, 2),
        instantiation="dot_product" if pairwise == "dot_product" else "softmax",
    )


VIDEO = (1, 3, 16, 112, 112)
PAIRS: tuple[Pair, ...] = (
    *(
        Pair(
            ours,
            f"torchvision {theirs}",
            "torchvision",
            lambda n=ours: create_model(n),
            lambda n=theirs: from_torchvision(n),
            shape,
        )
        for ours, theirs, shape in (
            ("r3d_18", "r3d_18", VIDEO),
            ("mc3_18", "mc3_18", VIDEO),
            ("r2plus1d_18_per_block", "r2plus1d_18", VIDEO),
            ("s3d", "s3d", (1, 3, 16, 224, 224)),
        )
    ),
    *(
        Pair(
            ours,
            f"pytorchvideo {theirs}",
            "pytorchvideo",
            lambda n=ours: create_model(n),
            lambda n=theirs: from_pytorchvideo(n),
            shape,
            feed,
        )
        for ours, theirs, shape, feed in (
            ("c2d_r50_8x8", "c2d_r50", (1, 3, 8, 256, 256), lambda clip: clip),
            ("i3d_r50_8x8", "i3d_r50", (1, 3, 8, 256, 256), lambda clip: clip),
            ("slow_r50_8x8", "slow_r50", (1, 3, 8, 256, 256), lambda clip: clip),
            ("slowfast_r50_8x8", "slowfast_r50", (1, 3, 32, 256, 256), pathways(4)),
        )
    ),
    *(
        Pair(
            ours,
            f"transformers {theirs}",
            "transformers",
            lambda n=ours: create_model(n),
            lambda n=theirs: from_transformers(n),
            (1, 3, 8, 224, 224),
        )
        for ours, theirs in (
            ("timesformer_divided", "divided_space_time"),
            ("timesformer_joint", "joint_space_time"),
            ("timesformer_space", "space_only"),
        )
    ),
    *(
        Pair(
            f"non-local {pairwise} {stage}",
            "pytorchvideo's layer",
            "pytorchvideo",
            lambda c=shape[1], p=pairwise: our_nonlocal(c, p),
            lambda c=shape[1], p=pairwise: nonlocal_of_pytorchvideo(c, p),
            shape,
        )
        for pairwise in ("embedded_gaussian", "dot_product")
        for stage, shape in (("res3", (1, 512, 4, 28, 28)), ("res4", (1, 1024, 4, 14, 14)))
    ),
)


Step = Callable[[], None]
FORWARD, TRAINING = "forward", "forward+backward"


def installed(package: str) -> bool:
    """Whether a rival's package can be imported here."""
    return importlib.util.find_spec(package) is not None


def make_step(network: nn.Module, inputs: Any, what: str) -> Step:
    """One step to be timed; training ends with gradients, which the next step starts without."""
    network.train(what == TRAINING)

    def given() -> Any:
        return list(inputs) if isinstance(inputs, list) else inputs  # pytorchvideo writes into the list

    def forward() -> None:
        with torch.no_grad():
            network(given())

    def training() -> None:
        network.zero_grad(set_to_none=True)
        network(given()).float().square().mean().backward()

    return training if what == TRAINING else forward


def seconds_of(step: Step, device: str) -> float:
    """Seconds of one step, waiting for a GPU to finish."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare_speed(pair: Pair, what: str, rounds: int, device: str) -> tuple[float, float]:
    """Smallest seconds of ours and of theirs, taken in turns so that noise hits both alike."""
    clip = torch.randn(pair.shape, device=device)
    steps = []
    for make, feed in ((pair.ours, lambda clip: clip), (pair.theirs, pair.feed)):
        torch.manual_seed(0)
        steps.append(make_step(make().to(device), feed(clip), what))
    for step in steps:
        step()
    seconds: list[list[float]] = [[], []]
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 else (1, 0):
            seconds[index].append(seconds_of(steps[index], device))
    gc.collect()
    return min(seconds[0]), min(seconds[1])


def peak_bytes(pair: Pair, what: str, side: str, device: str) -> int:
    """What one step adds to the memory of this process (a fresh one), in bytes."""
    network = (pair.ours if side == "ours" else pair.theirs)().to(device)
    clip = torch.randn(pair.shape, device=device)
    step = make_step(network, clip if side == "ours" else pair.feed(clip), what)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    before = forget_peak()
    step()
    return resident("VmHWM") - before


def forget_peak() -> int:
    """Let the system count the peak of this process anew (Linux); what it holds now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(what: str) -> int:
    """A line of /proc/self/status (Linux) in bytes: VmRSS is memory held now, VmHWM the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def compare_memory(pair: Pair, what: str, device: str) -> tuple[int, int]:
    """Bytes that one step of ours and of theirs adds, each in a process of its own."""
    found = []
    for side in ("ours", "theirs"):
        command = [sys.executable, __file__, "--child", json.dumps([pair.name, what, side, device])]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(int(answer.stdout.split()[-1]))
    return found[0], found[1]


def serve_child(request: str) -> None:
    """Measure the memory of one step in this process and print it."""
    name, what, side, device = json.loads(request)
    pair = next(pair for pair in PAIRS if pair.name == name)
    print(peak_bytes(pair, what, side, device))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every pair whose rival is installed, and print one line for each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="*", help="shell pattern of our names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        serve_child(options.child)
        return
    threads = f"{torch.get_num_threads()} threads"
    print(f"{options.device}, torch {torch.__version__}, {threads}, smallest of {options.rounds}")
    print(f"{'ours':26}{'rival':34}{'step':18}{'ours s':>9}{'theirs s':>9}{'ratio':>7}{'memory':>8}")
    ratios = []
    for pair in PAIRS:
        if not fnmatch.fnmatch(pair.name, options.only):
            continue
        if not installed(pair.package):
            print(f"{pair.name:26}{pair.rival:34}not installed")
            continue
        for what in (FORWARD, TRAINING):
            ours, theirs = compare_speed(pair, what, options.rounds, options.device)
            our_bytes, their_bytes = compare_memory(pair, what, options.device)
            ratios.append(theirs / ours)
            memory = f"{their_bytes / our_bytes:.2f}" if our_bytes else "-"
            print(
                f"{pair.name:26}{pair.rival:34}{what:18}{ours:9.3f}{theirs:9.3f}{ratios[-1]:7.2f}{memory:>8}",
                flush=True,
            )
    if ratios:
        print(f"smallest ratio {min(ratios):.2f}, geometric mean {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
