"""Non-local means, and the network block that is the same computation.

Noise is different everywhere, but what a picture shows repeats itself. Buades, Coll and Morel (CVPR 2005)
therefore replace each pixel by a mean over all pixels, weighted by how alike the patches around them are:

    y_i = sum over j of w(i, j) x_j,    w(i, j) = exp(-|P_i - P_j|^2 / h^2) / Z_i

with P the patch around a pixel, its squares weighted by a small Gaussian, and Z such that the weights sum
to 1. Wang et al. (arXiv:1711.07971) took this up as a layer: with |P_i - P_j|^2 = |P_i|^2 - 2 P_i . P_j +
|P_j|^2 it is a softmax over j of 2 P_i . P_j / h^2 - |P_j|^2 / h^2, as |P_i|^2 is the same for all j. That is
the gaussian non-local block with theta = phi = the patch and g = the pixel, but for the last term, the
length of the patch that answers. Patches of one length need no such term: then it is the block itself.
`network_form` computes it as attention; `non_local_means` as the paper of 2005 writes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from vadis.explain.sheet import (
    MARGIN,
    draw_heading,
    draw_ring,
    enlarge,
    heading_height,
    heat_colours,
    note_height,
)
from vadis.video.canvas import GREY, INK, PALETTE, PAPER, Canvas

LARGEST = 16_384  # pixels: each is compared with each
CHUNK = 512  # pixels that are compared with all others at a time


def patch_rows(image_CHW: Tensor, side: int = 7) -> Tensor:
    """The patch of `side` x `side` pixels around each pixel as a row: rows_ND, N = H x W, D = C x side^2.

    image_CHW: any range; borders are mirrored. The entries are scaled by the root of a Gaussian window
    (standard deviation side / 4 pixels) that sums to 1 over a patch, so that |row_i - row_j|^2 is the mean
    squared difference that the paper of 2005 takes. Raises ValueError for even sides.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(f"the side of a patch is an odd number of pixels, got {side}")
    reach = side // 2
    padded = F.pad(image_CHW[None], (reach,) * 4, mode="reflect" if reach else "constant")
    columns_1DN = F.unfold(padded, side)
    place = torch.arange(side, dtype=image_CHW.dtype, device=image_CHW.device) - reach
    window = torch.exp(-(place**2) / (2 * (side / 4) ** 2))
    square = (window[:, None] * window).flatten().repeat(len(image_CHW))
    return columns_1DN[0].T * (square / square.sum()).sqrt()


def non_local_means(image_CHW: Tensor, h: float, side: int = 7) -> Tensor:
    """Non-local means over the whole image, as written in 2005: image_CHW.

    h: how fast weights fall, in the units of the image's values: a patch that differs by h on average
    weighs 1/e. Source: Buades, Coll and Morel, CVPR 2005, equations 1 and 2. Raises ValueError for images
    above 16384 pixels.
    """
    rows_ND = patch_rows(_checked(image_CHW, h), side)
    values_NC = image_CHW.flatten(1).T
    found = [means_weights(rows_ND, part, h) @ values_NC for part in rows_ND.split(CHUNK)]
    return torch.cat(found).T.reshape(image_CHW.shape)


def means_weights(rows_ND: Tensor, asking_QD: Tensor, h: float) -> Tensor:
    """The weights of all patches for some of them, weights_QN: each row sums to 1.

    h: as for `non_local_means`, in [0, 1] as the image's values.
    """
    # by differences, not by products: the network form is to be checked against this
    distance_QN = torch.cdist(asking_QD, rows_ND, compute_mode="donot_use_mm_for_euclid_dist")
    weights_QN = torch.exp(-(distance_QN**2) / h**2)
    return weights_QN / weights_QN.sum(1, keepdim=True)


def network_form(image_CHW: Tensor, h: float, side: int = 7) -> Tensor:
    """The same as attention: softmax of dot products of patches, values are the pixels. image_CHW.

    h: as for `non_local_means`, in the units of the image's values. Equal to it up to rounding.
    """
    rows_ND = patch_rows(_checked(image_CHW, h), side)
    values_NC = image_CHW.flatten(1).T
    length_N = -rows_ND.square().sum(1) / h**2  # what the block lacks where patches differ in length
    found = [
        F.scaled_dot_product_attention(
            part[None], rows_ND[None], values_NC[None], attn_mask=length_N[None, None], scale=2 / h**2
        )[0]
        for part in rows_ND.split(CHUNK)
    ]
    return torch.cat(found).T.reshape(image_CHW.shape)


def box_means(image_CHW: Tensor, side: int) -> Tensor:
    """The plain mean over side x side pixels: image_CHW, borders mirrored."""
    reach = side // 2
    return F.avg_pool2d(F.pad(image_CHW[None], (reach,) * 4, mode="reflect"), side, 1)[0]


def gaussian_means(image_CHW: Tensor, sigma: float) -> Tensor:
    """The mean weighted by a Gaussian of `sigma` pixels around each pixel: image_CHW."""
    reach = max(1, math.ceil(3 * sigma))
    place = torch.arange(-reach, reach + 1, dtype=image_CHW.dtype)
    window = torch.exp(-(place**2) / (2 * sigma**2))
    window = window / window.sum()
    padded = F.pad(image_CHW[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, window[None, None, None]), window[None, None, :, None])[:, 0]


def _checked(image_CHW: Tensor, h: float) -> Tensor:
    if image_CHW.ndim != 3 or image_CHW.shape[1] * image_CHW.shape[2] > LARGEST:
        raise ValueError(
            f"an image is (C, H, W) with at most {LARGEST} pixels here (each is compared with each), "
            f"got {tuple(image_CHW.shape)}"
        )
    if not h > 0:
        raise ValueError(f"h must be above 0, got {h}")
    return image_CHW


# --- the picture ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Denoised:
    """One image, made noisy, and what the means make of it; all (C, H, W), 0 to 1.

    query: (y, x) of the pixel whose `weights_HW` are kept. psnr: decibels against the clean image, by name.
    difference: the largest between non-local means and its network form.
    """

    images: dict[str, Tensor]
    query: tuple[int, int]
    weights_HW: npt.NDArray[np.float32]
    psnr: dict[str, float]
    difference: float


def denoise(
    image_CHW: Tensor,
    *,
    noise: float = 0.1,
    h: float | None = None,
    query: tuple[int, int] | None = None,
    side: int = 7,
    seed: int = 0,
) -> Denoised:
    """Add noise to an image and take the four means.

    image_CHW: in [0, 1]. noise: its standard deviation, in [0, 1] like the image; h: None takes the
    same. query: (y, x), None is the middle. Raises ValueError for a query outside.
    """
    high, wide = image_CHW.shape[1:]
    y, x = query or (high // 2, wide // 2)
    if not (0 <= y < high and 0 <= x < wide):
        raise ValueError(f"the query lies outside of the image of {high} x {wide} pixels: {y},{x}")
    h = noise if h is None else h
    clean = image_CHW.float()
    generator = torch.Generator().manual_seed(seed)
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    images = {
        "clean": clean,
        "noisy": noisy,
        "local mean": box_means(noisy, 5),
        "Gaussian": gaussian_means(noisy, 1.2),
        "non-local means": non_local_means(noisy, h, side),
        "network form": network_form(noisy, h, side),
    }
    rows_ND = patch_rows(noisy, side)
    weights_N = means_weights(rows_ND, rows_ND[y * wide + x][None], h)[0]
    psnr = {
        name: float(-10 * (image - clean).square().mean().log10())
        for name, image in images.items()
        if name != "clean"
    }
    difference = float((images["non-local means"] - images["network form"]).abs().max())
    weights_HW = weights_N.view(high, wide).float().numpy()
    return Denoised(images, (y, x), weights_HW, psnr, difference)


def draw_denoised(found: Denoised, *, width: int = 1200) -> npt.NDArray[np.uint8]:
    """The images in two rows, and where one pixel's weights lie: (H, W, 3) uint8."""
    subtitle = (
        "The mean over all pixels, weighted by how alike their surroundings are, keeps edges that local "
        "means blur; the gaussian non-local block of a network computes the same."
    )
    note = (
        "PSNR in dB against the clean image, higher is better. The largest difference between non-local "
        f"means and its network form is {found.difference:.0e}. Weights: the ring asks, brighter is more (on "
        "a scale that shows small ones, too; its own, the largest, is left out)."
    )
    top = heading_height(width, subtitle)
    clean = found.images["clean"]
    high, wide = clean.shape[1:]
    cell = (width - 2 * MARGIN + 12) / 4
    side, tall = cell - 12, (cell - 12) * high / wide
    canvas = Canvas(width, round(top + 2 * (tall + 46)) + note_height(width, note))
    draw_heading(canvas, "Non-local means, and its network form", subtitle, note)
    names = ["clean", "noisy", "local mean", "Gaussian", "non-local means", "network form"]
    tiles = [(name, _pixels(found.images[name])) for name in names]
    weights = found.weights_HW.copy()
    weights[found.query] = 0
    share = (weights / max(float(np.sort(weights, axis=None)[-20]), 1e-30)).clip(max=1) ** 0.4
    tiles.append(("weights of one pixel", heat_colours(share).astype(np.uint8)))
    tiles.append(("where they lie", _pixels(clean)))
    for number, (name, pixels) in enumerate(tiles):
        row, column = divmod(number, 4)
        left, y = MARGIN + column * cell, top + row * (tall + 46)
        canvas.picture(left, y, side, tall, enlarge(pixels, max(1, round(2 * side / wide))))
        canvas.text(left, y + tall + 8, name, 15, INK, bold=True)
        if name in found.psnr:
            canvas.text(left + side, y + tall + 8, f"{found.psnr[name]:.1f} dB", 15, GREY, anchor="ra")
        if number >= len(tiles) - 2:
            scale = side / wide
            if name == "where they lie":
                best = np.argsort(weights, axis=None)[::-1][:60]
                for py, px in zip(*np.unravel_index(best, weights.shape), strict=True):
                    x0, y0 = left + px * scale, y + py * scale
                    canvas.box(x0 - 1, y0 - 1, x0 + scale + 1, y0 + scale + 1, INK)
                    canvas.box(x0, y0, x0 + scale, y0 + scale, PALETTE[4])
            centre = (left + (found.query[1] + 0.5) * scale, y + (found.query[0] + 0.5) * scale)
            draw_ring(canvas, centre, 9, PAPER, 3)
    return canvas.pixels()


def _pixels(image_CHW: Tensor) -> npt.NDArray[np.uint8]:
    """An image (C, H, W), 0 to 1, as (H, W, 3) uint8."""
    shown = image_CHW.clamp(0, 1).mul(255).round().to(torch.uint8)
    return shown.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def drawn_picture(side: int = 64) -> Tensor:
    """A drawn picture with shapes that repeat: image_CHW, 0 to 1, `side` x `side` pixels."""
    canvas = Canvas(96, 96, (232, 228, 218))
    canvas.box(0, 0, 48, 48, (64, 92, 128))
    for step in range(6):
        canvas.box(52, 4 + 8 * step, 92, 8 + 8 * step, (198, 84, 48))
    for row in range(5):
        for column in range(5):
            if (row + column) % 2 == 0:
                canvas.box(4 + 8 * column, 52 + 8 * row, 12 + 8 * column, 60 + 8 * row, (40, 120, 92))
    canvas.text(54, 54, "AbA", 22, (20, 24, 30), bold=True)
    canvas.line([(52, 92), (94, 78)], (60, 60, 70), 3)
    canvas.area([(24, 6), (42, 42), (6, 42)], (240, 214, 120))
    pixels = torch.from_numpy(canvas.pixels()).permute(2, 0, 1)[None].float() / 255
    if side != 96:
        pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    return pixels[0]
