"""Non-local networks: each position looks at all others, however far away in space and time.

A convolution sees its neighbours, so what belongs together across a clip meets only after many layers. A
non-local block lets each position ask every other how related the two are, and takes the average of what
they hold, weighted by the answers; it is added to what was there. Put between the blocks of a ResNet that
reads a clip frame by frame (C2D) or through inflated kernels (I3D), five of them say more than as many
layers of convolutions.

Paper: Wang, Girshick, Gupta and He, "Non-local Neural Networks" (CVPR 2018, arXiv:1711.07971). With x_i a
position, j all positions, and W_z, g, theta, phi linear maps (1x1x1 convolutions with bias, half width):

    z_i = x_i + BN(W_z y_i)                y_i = sum over j of f(x_i, x_j) g(x_j) / C(x)

    `pairwise`           f(x_i, x_j)                       C(x)
    gaussian             exp(x_i . x_j)                    sum over j of f: a softmax
    embedded_gaussian    exp(theta(x_i) . phi(x_j))        sum over j of f: a softmax
    dot_product          theta(x_i) . phi(x_j)             number of positions j
    concatenation        ReLU(w . [theta(x_i), phi(x_j)])  number of positions j

Batch norm's scale starts at zero, so a new block changes nothing and can be put into a trained network.
phi and g look at x after a maximum over 1x2x2 positions, which costs a quarter.

Table 1 of the paper, C2D on ResNet-50 (ResNet-101 has 23 blocks in res4), for a clip of 32 x 224 x 224:

    layer     ours        kernels (C2D)                        T x H x W         I3D instead
    conv1     stem        1x7x7, 64, stride 2,2,2              16 x 112 x 112    5x7x7
    pool1     pool1       max 3x3x3, stride 2,2,2              8 x 56 x 56
    res2      stages.0    [1x1x1, 1x3x3, 1x1x1] 256, x 3       8 x 56 x 56       3x1x1 first in all
    pool2     pool2       max 3x1x1, stride 2,1,1              4 x 56 x 56
    res3      stages.1    the same, 512, x 4                   4 x 28 x 28       3x1x1 in 0, 2
    res4      stages.2    the same, 1024, x 6                  4 x 14 x 14       3x1x1 in 0, 2, 4 ...
    res5      stages.3    the same, 2048, x 3                  4 x 7 x 7         3x1x1 in 1
              head        mean, dropout 0.5, linear            1

I3D gives each second block a length in time: 3x1x1 in place of its first convolution, or ("_3x3x3") 3x3x3
in place of its second. Non-local blocks stand before the last block of res4 ("_nl1"), after every second
block of res3 and res4 ("_nl5"; ResNet-101: res3 1, 3, res4 6, 13, 20), after each of them ("_nl10"), or
wherever `nonlocal_after` says.

Names end in frames x stride. "32x2" and "128x1" are the paper's; 128 frames start from the weights of 32
(`long.load_state_dict(short.state_dict())`: they have the same parameters). "8x8" and "32x4" are the
authors' faster forms: as much time at a quarter of the frames, the stem and pool1 then without stride in
time; PySlowFast and pytorchvideo took over 8x8.

Where code differs from the paper, the paper's form is the default for 32x2 and 128x1, PySlowFast's for 8x8
and 32x4; options give the others:
- `pooling`: "padded" centres windows, as the paper's sizes demand. The released Caffe2 networks (72.0, 73.9,
  73.6, 74.9 for 32x2) have "caffe2": pool1 2x3x3 and pool2 2x1x1 without padding, 55 x 55 positions in
  res2. mmaction2's I3D (73.3) has "mmaction2": pool1 skips each second frame instead of comparing.
- `halve_time=False` leaves pool2 out: PySlowFast's C2D zoo weights (67.2) are of that kind.
- `scaled` divides theta . phi by the root of the inner width before the softmax, which the paper does not
  mention; the authors' code and PySlowFast do it, mmaction2's networks (74.7) and AlexHex7's port do not.
- `pool_first=False` takes the maximum after phi and g instead, as mmaction2 and AlexHex7 do.
- `group_frames=4`: in the authors' 128x1 and 32x4 code, positions of res3, where maps are large, look at
  groups of 4 frames only. The paper does not say so, and its count (282 G multiply-adds for 128x1 at 256 x
  256) is that of looking at all, the default here for 128x1; "32x4" exists in their code only.
- `head_window=7`: pytorchvideo averages windows of 7x7 positions; on maps larger than that (256 pixels)
  it weighs the middle more than a mean over everything does.
- `pixels="imagenet"`: mmaction2's networks take ImageNet's mean and deviation, not 0.45 and 0.225.
- Weights start from He's normal rule (fan out) and residual branches at zero, as in PySlowFast; the paper
  starts from ImageNet (see `vadis.models.inflate`).

Shapes: B batch, C channels, T frames (or positions in time), H W pixels (or positions in space),
D features, K classes; in a non-local block Q positions that ask and K positions that answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from vadis.models.contract import Paper, PrintedSize, Result
from vadis.models.inflated_resnet import (
    BLOCKS,
    FRAME_POOL,
    TINY_BLOCKS,
    TINY_WIDTH,
    InflatedResNet,
    Pixels,
    Places,
    Plan,
    Pool,
    kinetics_spec,
    plan_nonlocals,
)
from vadis.models.nonlocal_block import Extent, Pairwise

Pooling = Literal["padded", "caffe2", "mmaction2"]

K400 = "Kinetics-400 val"
REPOSITORY = "the authors' repository"
PYSLOWFAST = "PySlowFast zoo"
PYTORCHVIDEO = "pytorchvideo zoo"
MMACTION2 = "mmaction2 zoo, its pooling and pixels"

PAPERS: tuple[Paper, ...] = (
    Paper(
        "Non-local Neural Networks",
        "X. Wang, R. Girshick, A. Gupta and K. He",
        "CVPR 2018",
        "1711.07971",
        "Each position of a feature map asks every other, near or far in space and time, how related they "
        "are, and takes the average of what they hold, weighted by the answers. The block starts without "
        "effect, so it can be put into any trained network; five of them in a ResNet that reads frame by "
        "frame do more than inflating its kernels, and both together do most.",
        (
            Result("c2d_r50_32x2", K400, 71.8, 89.7, "10x3", "ImageNet"),
            Result("c2d_r50_32x2_nl1", K400, 72.7, 90.5, "10x3", "ImageNet"),
            Result("c2d_r50_32x2_nl5", K400, 73.8, 91.0, "10x3", "ImageNet"),
            Result("c2d_r50_32x2_nl10", K400, 74.3, 91.2, "10x3", "ImageNet"),
            Result("c2d_r101_32x2", K400, 73.1, 91.0, "10x3", "ImageNet"),
            Result("c2d_r101_32x2_nl1", K400, 74.3, 91.3, "10x3", "ImageNet"),
            Result("c2d_r101_32x2_nl5", K400, 75.1, 91.7, "10x3", "ImageNet"),
            Result("i3d_r101_32x2_3x3x3", K400, 74.1, 91.2, "10x3", "ImageNet"),
            Result("i3d_r50_32x2", K400, 73.3, 90.7, "10x3", "ImageNet"),
            Result("i3d_r101_32x2", K400, 74.4, 91.1, "10x3", "ImageNet"),
            Result("i3d_r50_32x2_nl5", K400, 74.9, 91.6, "10x3", "ImageNet"),
            Result("i3d_r101_32x2_nl5", K400, 76.0, 92.1, "10x3", "ImageNet"),
            Result("c2d_r50_128x1", K400, 73.8, 91.2, "10x3", "ImageNet"),
            Result("c2d_r101_128x1", K400, 75.3, 91.8, "10x3", "ImageNet"),
            Result("i3d_r50_128x1", K400, 74.9, 91.7, "10x3", "ImageNet"),
            Result("i3d_r101_128x1", K400, 76.4, 92.7, "10x3", "ImageNet"),
            Result("i3d_r50_128x1_nl5", K400, 76.5, 92.6, "10x3", "ImageNet"),
            Result("i3d_r101_128x1_nl5", K400, 77.7, 93.3, "10x3", "ImageNet"),
            Result("c2d_r50_32x2", K400, 72.0, 90.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_32x2_nl5", K400, 73.9, 91.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x2", K400, 73.6, 90.8, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x2_nl5", K400, 74.9, 91.6, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_128x1", K400, 75.2, 92.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_128x1_nl5", K400, 76.5, 92.7, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_8x8", K400, 71.9, 90.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_8x8_nl5", K400, 74.4, 91.4, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_8x8", K400, 73.4, 90.9, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_8x8_nl5", K400, 74.7, 91.6, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x4", K400, 75.5, 92.0, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("i3d_r50_32x4_nl5", K400, 76.5, 92.6, "10x3", f"ImageNet; {REPOSITORY}"),
            Result("c2d_r50_8x8", K400, 67.2, 87.8, "10x3", f"halve_time=False; {PYSLOWFAST}"),
            Result("i3d_r50_8x8", K400, 73.5, 90.8, "10x3", PYSLOWFAST),
            Result("i3d_r50_8x8_nl5", K400, 74.0, 91.1, "10x3", PYSLOWFAST),
            Result("c2d_r50_8x8", K400, 71.46, 89.68, "10x3", PYTORCHVIDEO),
            Result("i3d_r50_8x8", K400, 73.27, 90.70, "10x3", PYTORCHVIDEO),
            Result("i3d_r50_32x2", K400, 73.27, 90.92, "10x3", f"ImageNet; {MMACTION2}"),
            Result("i3d_r50_32x2_nl5", K400, 74.71, 91.81, "10x3", f"ImageNet; {MMACTION2}"),
            Result("i3d_r101_128x1_nl5", "Charades val", 37.5, None, "", "mean AP; from Kinetics-400"),
        ),
        (
            PrintedSize(
                "c2d_r101_32x2",
                "43.2 M, 34.2 G",
                "43.32 M, 35.29 G",
                "Printed for ResNets that have the stride in the first 1x1x1 convolution of a stage, which "
                "gives 34.17 G; here, as in PySlowFast, it is in the 3x3 one.",
            ),
            PrintedSize(
                "i3d_r50_128x1_nl5",
                "282 G",
                "281.5 G",
                "Printed in SlowFast's table, at the 256 pixels of the test.",
                pixels=256,
            ),
            PrintedSize(
                "i3d_r101_128x1_nl5",
                "359 G",
                "378.4 G",
                "Printed in SlowFast's table, at 256 pixels. Only 3 kernels along time in res4, instead of "
                "one in every second block (12), would give it.",
                pixels=256,
            ),
        ),
    ),
)


def time_kernels(family: str, blocks: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Per stage and block, the length in time of the kernel that is inflated: 1 everywhere for "c2d";
    for "i3d" 3 in all of res2, in blocks 0, 2, 4 ... of res3 and res4, in blocks 1, 3 ... of res5."""
    if family == "c2d":
        return tuple((1,) * count for count in blocks)
    patterns = ((3, 3), (3, 1), (3, 1), (1, 3))
    return tuple(
        tuple(pattern[index % 2] for index in range(count))
        for pattern, count in zip(patterns, blocks, strict=True)
    )


def nonlocal_places(number: int, blocks: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Where the paper puts 0, 1, 5 or 10 non-local blocks in a network of so many residual ones."""
    res3, res4 = blocks[1], blocks[2]
    if number == 0:
        return {}
    if number == 1:  # before the last block of res4
        return {"res4": (res4 - 2,)}
    if number == 10:
        return {"res3": tuple(range(res3)), "res4": tuple(range(res4))}
    every = 7 if res4 > 6 else 2  # three of them in res4, however deep
    return {"res3": tuple(range(1, res3, 2)), "res4": tuple(range(every - 1, res4, every))}


def _pools(pooling: Pooling, halve_time: bool, dense: bool) -> tuple[Pool, Pool | None]:
    """pool1 and pool2; `dense` is the paper's form, whose stem and pool1 have a stride in time."""
    choices = get_args(Pooling) if dense else ("padded", "caffe2")
    if pooling not in choices:
        raise ValueError(f"pooling must be one of {', '.join(choices)} here, got {pooling!r}")
    pairs = Pool((2, 1, 1), (2, 1, 1))
    if pooling == "mmaction2":
        first, second = Pool((1, 3, 3), (2, 2, 2), (0, 1, 1)), pairs
    elif pooling == "caffe2":
        first, second = Pool((2, 3, 3), (2, 2, 2)) if dense else Pool((1, 3, 3), (1, 2, 2)), pairs
    elif dense:
        first, second = Pool((3, 3, 3), (2, 2, 2), (1, 1, 1)), Pool((3, 1, 1), (2, 1, 1), (1, 0, 0))
    else:
        first, second = FRAME_POOL, pairs
    return first, second if halve_time else None


def _build(
    family: str,
    depth: int,
    frames: tuple[int, int],
    num_classes: int,
    in_channels: int,
    tiny: bool,
    num_nonlocal: int = 0,
    *,
    dense: bool = True,
    spread: bool = False,
    dropout: float = 0.5,
    pooling: Pooling = "padded",
    halve_time: bool = True,
    head_window: int | None = None,
    nonlocal_after: Places | None = None,
    pairwise: Pairwise = "embedded_gaussian",
    scaled: bool = True,
    extent: Extent = "spacetime",
    nonlocal_pool: Sequence[int] = (1, 2, 2),
    pool_first: bool = True,
    group_frames: int | None = None,
    pixels: Pixels = "authors",
) -> InflatedResNet:
    """One network of the paper: `frames` are number and stride; the options are those of the docstring."""
    blocks = TINY_BLOCKS if tiny else BLOCKS[depth]
    pool1, pool2 = _pools(pooling, halve_time, dense)
    plan = Plan(
        time_kernels(family, blocks),
        stem_time=5 if family == "i3d" else 1,
        stem_stride=2 if dense else 1,
        pool1=pool1,
        pool2=pool2,
        spread=spread,
        width=TINY_WIDTH if tiny else 64,
        group_frames=group_frames,
    )
    places = nonlocal_places(num_nonlocal, blocks) if nonlocal_after is None else nonlocal_after
    plan = plan_nonlocals(
        plan,
        places,
        pairwise=pairwise,
        scaled=scaled,
        extent=extent,
        pool=tuple(nonlocal_pool),
        pool_first=pool_first,
    )
    spec = kinetics_spec(in_channels, *frames, 224 if dense else 256, pixels)
    return InflatedResNet(plan, spec, num_classes, dropout=dropout, head_window=head_window)


def c2d_r50_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50, table 1: 24.3 M parameters, 20.4 G multiply-adds; 71.8 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, **options)


def c2d_r101_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101: 43.3 M parameters, 35.3 G multiply-adds; 73.1 in the paper."""
    return _build("c2d", 101, (32, 2), num_classes, in_channels, tiny, **options)


def i3d_r50_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-50 inflated to 3x1x1: 28.0 M parameters, 33.1 G multiply-adds; 73.3 in the paper."""
    return _build("i3d", 50, (32, 2), num_classes, in_channels, tiny, **options)


def i3d_r101_32x2(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-101 inflated to 3x1x1: 51.8 M parameters, 51.7 G multiply-adds; 74.4 in the paper."""
    return _build("i3d", 101, (32, 2), num_classes, in_channels, tiny, **options)


def i3d_r50_32x2_3x3x3(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-50 inflated to 3x3x3: 33.4 M parameters."""
    return _build("i3d", 50, (32, 2), num_classes, in_channels, tiny, spread=True, **options)


def i3d_r101_32x2_3x3x3(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """ResNet-101 inflated to 3x3x3: 63.0 M parameters; 74.1 in the paper (table 2e)."""
    return _build("i3d", 101, (32, 2), num_classes, in_channels, tiny, spread=True, **options)


def c2d_r50_32x2_nl1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 with 1 non-local block: 72.7 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, 1, **options)


def c2d_r50_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 with 5 non-local blocks: 73.8 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, 5, **options)


def c2d_r50_32x2_nl10(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 with 10 non-local blocks: 74.3 in the paper."""
    return _build("c2d", 50, (32, 2), num_classes, in_channels, tiny, 10, **options)


def c2d_r101_32x2_nl1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101 with 1 non-local block: 74.3 in the paper."""
    return _build("c2d", 101, (32, 2), num_classes, in_channels, tiny, 1, **options)


def c2d_r101_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101 with 5 non-local blocks: 75.1 in the paper."""
    return _build("c2d", 101, (32, 2), num_classes, in_channels, tiny, 5, **options)


def i3d_r50_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-50 with 5 non-local blocks, the paper's NL I3D: 74.9."""
    return _build("i3d", 50, (32, 2), num_classes, in_channels, tiny, 5, **options)


def i3d_r101_32x2_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-101 with 5 non-local blocks, the paper's NL I3D: 76.0."""
    return _build("i3d", 101, (32, 2), num_classes, in_channels, tiny, 5, **options)


def c2d_r50_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-50 for clips of 128 frames, trained on from 32x2: 73.8 in the paper."""
    return _build("c2d", 50, (128, 1), num_classes, in_channels, tiny, **options)


def c2d_r101_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D on ResNet-101 for clips of 128 frames, trained on from 32x2: 75.3 in the paper."""
    return _build("c2d", 101, (128, 1), num_classes, in_channels, tiny, **options)


def i3d_r50_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-50 for clips of 128 frames, trained on from 32x2: 74.9 in the paper."""
    return _build("i3d", 50, (128, 1), num_classes, in_channels, tiny, **options)


def i3d_r101_128x1(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """Inflated ResNet-101 for clips of 128 frames, trained on from 32x2: 76.4 in the paper."""
    return _build("i3d", 101, (128, 1), num_classes, in_channels, tiny, **options)


def i3d_r50_128x1_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """NL I3D on ResNet-50 for clips of 128 frames: 76.5 in the paper."""
    return _build("i3d", 50, (128, 1), num_classes, in_channels, tiny, 5, **options)


def i3d_r101_128x1_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """NL I3D on ResNet-101 for clips of 128 frames: 77.7 in the paper."""
    return _build("i3d", 101, (128, 1), num_classes, in_channels, tiny, 5, **options)


def c2d_r50_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D of PySlowFast and pytorchvideo: 24.3 M parameters, 25.5 G multiply-adds at 256 x 256."""
    return _build("c2d", 50, (8, 8), num_classes, in_channels, tiny, dense=False, **options)


def i3d_r50_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """I3D of PySlowFast and pytorchvideo: 28.0 M parameters, 37.1 G multiply-adds at 256 x 256."""
    return _build("i3d", 50, (8, 8), num_classes, in_channels, tiny, dense=False, **options)


def i3d_r101_8x8(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The same on ResNet-101 (PySlowFast's I3D_8x8_R101)."""
    return _build("i3d", 101, (8, 8), num_classes, in_channels, tiny, dense=False, **options)


def c2d_r50_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """C2D with 5 non-local blocks (PySlowFast's C2D_NLN_8x8_R50; 74.4 in the authors' repository)."""
    return _build("c2d", 50, (8, 8), num_classes, in_channels, tiny, 5, dense=False, **options)


def i3d_r50_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """I3D with 5 non-local blocks (PySlowFast's I3D_NLN_8x8_R50; 74.7 in the authors' repository)."""
    return _build("i3d", 50, (8, 8), num_classes, in_channels, tiny, 5, dense=False, **options)


def i3d_r101_8x8_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The same on ResNet-101; PySlowFast's I3D_NLN_8x8_R101 has them after 1, 3, 5 of res4 instead."""
    return _build("i3d", 101, (8, 8), num_classes, in_channels, tiny, 5, dense=False, **options)


def i3d_r50_32x4(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """I3D for long clips at a quarter of the frames, trained on from 8x8: 75.5 in the authors' repository."""
    return _build("i3d", 50, (32, 4), num_classes, in_channels, tiny, dense=False, **options)


def i3d_r50_32x4_nl5(
    num_classes: int = 400, in_channels: int = 3, tiny: bool = False, **options: Any
) -> InflatedResNet:
    """The same with 5 non-local blocks, groups of 4 frames in res3: 76.5 in the authors' repository."""
    return _build(
        "i3d", 50, (32, 4), num_classes, in_channels, tiny, 5, dense=False, **{"group_frames": 4, **options}
    )
