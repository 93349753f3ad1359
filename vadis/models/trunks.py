"""The image networks by name, up to their last map: what the networks that look at single frames stand on.

    kind          features   image network (weights for `--init imagenet`)
    resnet18      512        torchvision's resnet18 (34: the same; 50, 101, 152: 2048 features)
    inception     1024       torchvision's googlenet
    bninception   1024       a file in the TSN authors' spelling (torchvision has none)
    xception      2048       a file in timm's spelling (torchvision has none)
    vgg_m         512        a MatConvNet file (torchvision has none)
    vgg16         512        torchvision's vgg16
    alexnet       256        none (its widths are DeepVideo's)

    make_trunk("resnet50")(frames_BCHW) -> feature_BDHW        see `vadis.models.layers.Trunk`
    by_frame(trunk, clip_BCTHW) -> feature_BDTHW               each frame of a clip through it

Weights from images: a video network that holds a `Trunk` (or several, of one kind) needs nothing else to be
started from an image network; `vadis.models.inflate` finds its trunks and asks each how the image network
spells its keys (`image_key`). Other layers that an image network has, such as fully connected ones, can be an
`ImagePart` of the same `images` beside the trunk. First layers of another number of channels take the mean of
the filters over their channels, repeated, as TSN does.

A trunk joins by one line in `TRUNKS`.

Shapes: B frames, C channels, T frames of a clip, H W pixels (or positions in space), D features.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vadis.models.alexnet import AlexNetTrunk
from vadis.models.bninception import TINY_BLOCKS, TINY_DIVISOR, BnInception
from vadis.models.inception import InceptionV1
from vadis.models.layers import Trunk, by_frame
from vadis.models.resnet import ResNet
from vadis.models.vgg import Vgg
from vadis.models.xception import Xception

__all__ = ["TRUNKS", "Trunk", "by_frame", "make_trunk"]


def _bninception(in_channels: int, *, tiny: bool) -> BnInception:
    if tiny:
        return BnInception(in_channels, blocks=TINY_BLOCKS, width_divisor=TINY_DIVISOR)
    return BnInception(in_channels)


TRUNKS: dict[str, Callable[..., Trunk]] = {
    "resnet18": partial(ResNet, 18),
    "resnet34": partial(ResNet, 34),
    "resnet50": partial(ResNet, 50),
    "resnet101": partial(ResNet, 101),
    "resnet152": partial(ResNet, 152),
    "inception": InceptionV1,
    "bninception": _bninception,
    "alexnet": AlexNetTrunk,
    "xception": Xception,
    "vgg_m": partial(Vgg, "vgg_m"),
    "vgg16": partial(Vgg, "vgg16"),
}
"""Kind -> what makes it, from the number of channels of a frame and whether it is the tiny form."""


def make_trunk(kind: str, in_channels: int = 3, tiny: bool = False) -> Trunk:
    """An untrained trunk. in_channels: of a frame (3 of RGB, 2 for each flow field of a stack).

    `tiny` gives a narrow and shallow form for tests. Raises ValueError for an unknown kind.
    """
    if kind not in TRUNKS:
        raise ValueError(f"no trunk is called {kind!r}; there are {', '.join(TRUNKS)}")
    return TRUNKS[kind](in_channels, tiny=tiny)
