"""The networks by name: the table, and how to make one, with or without published weights.

A network joins by one line in `MODELS`; the contract test, the command line's list and the tables of
the documentation follow by themselves. Names are `{model}_{depth}_{T}x{stride}`, weights after a dot.
"""

from __future__ import annotations

import difflib
import fnmatch
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vadis.models.aggregate import (
    aggregate_average,
    aggregate_average_streams,
    aggregate_tcp,
    aggregate_tcp_streams,
)
from vadis.models.artnet import artnet_r18, artnet_s_r18, c3d_r18
from vadis.models.c3d import c3d, c3d_bn
from vadis.models.contract import VideoModel
from vadis.models.deepvideo import (
    deepvideo_context,
    deepvideo_early,
    deepvideo_fovea,
    deepvideo_late,
    deepvideo_multires,
    deepvideo_single,
    deepvideo_slow,
)
from vadis.models.eco import eco_full, eco_lite
from vadis.models.fused_streams import (
    fused_vgg16,
    fused_vgg16_2d,
    fused_vgg16_3d_pool,
    fused_vggm_relu2_conv,
    fused_vggm_relu3_conv,
    fused_vggm_relu3_relu5_fc6_conv,
    fused_vggm_relu4_conv,
    fused_vggm_relu5_bilinear,
    fused_vggm_relu5_concat,
    fused_vggm_relu5_conv,
    fused_vggm_relu5_fc8_conv,
    fused_vggm_relu5_max,
    fused_vggm_relu5_sum,
)
from vadis.models.i3d import i3d_inception, i3d_inception_flow
from vadis.models.lgd import (
    lgd_p3d_r50,
    lgd_p3d_r50_128x1,
    lgd_p3d_r101,
    lgd_p3d_r101_128x1,
    lgd_p3d_xception,
    lgd_p3d_xception_128x1,
    lgd_resnext3d_101,
    lgd_se_resnet3d_50,
    lgd_se_resnet3d_101,
    lgd_se_resnext3d_101,
    p3d_xception,
)
from vadis.models.mfnet import mfnet3d
from vadis.models.nonlocal_net import (
    c2d_r50_8x8,
    c2d_r50_8x8_nl5,
    c2d_r50_32x2,
    c2d_r50_32x2_nl1,
    c2d_r50_32x2_nl5,
    c2d_r50_32x2_nl10,
    c2d_r50_128x1,
    c2d_r101_32x2,
    c2d_r101_32x2_nl1,
    c2d_r101_32x2_nl5,
    c2d_r101_128x1,
    i3d_r50_8x8,
    i3d_r50_8x8_nl5,
    i3d_r50_32x2,
    i3d_r50_32x2_3x3x3,
    i3d_r50_32x2_nl5,
    i3d_r50_32x4,
    i3d_r50_32x4_nl5,
    i3d_r50_128x1,
    i3d_r50_128x1_nl5,
    i3d_r101_8x8,
    i3d_r101_8x8_nl5,
    i3d_r101_32x2,
    i3d_r101_32x2_3x3x3,
    i3d_r101_32x2_nl5,
    i3d_r101_128x1,
    i3d_r101_128x1_nl5,
)
from vadis.models.p3d import p3d_63, p3d_131, p3d_199, p3d_r50, p3d_r101
from vadis.models.quo_vadis import fused3d_inception, lstm_inception, two_stream_i3d, two_stream_inception
from vadis.models.r2plus1d import (
    fr2d_18,
    fr2d_34,
    ip_csn_152,
    ir_csn_152,
    mc2_18,
    mc2_34,
    mc3_18,
    mc3_34,
    mc4_18,
    mc4_34,
    mc5_18,
    mc5_34,
    r2d_18,
    r2d_34,
    r2plus1d_18,
    r2plus1d_18_per_block,
    r2plus1d_34,
    r2plus1d_50,
    r2plus1d_101,
    r2plus1d_152,
    r3d_18,
    r3d_34,
    rmc2_18,
    rmc2_34,
    rmc3_18,
    rmc3_34,
    rmc4_18,
    rmc4_34,
    rmc5_18,
    rmc5_34,
)
from vadis.models.resnet3d import (
    resnet3d_18,
    resnet3d_34,
    resnet3d_50,
    resnet3d_101,
    resnet3d_152,
    resnet3d_200,
    resnext3d_101,
    se_resnet3d_50,
    se_resnet3d_101,
    se_resnext3d_101,
)
from vadis.models.s3d import i2d_inception, i3d_bottom_heavy, i3d_top_heavy, s3d, s3d_fast, s3dg
from vadis.models.slowfast import (
    slow_r50_4x16,
    slow_r50_4x16_nl5,
    slow_r50_8x8,
    slow_r50_8x8_nl5,
    slowfast_r50_4x16,
    slowfast_r50_4x16_nl5,
    slowfast_r50_8x8,
    slowfast_r50_8x8_nl5,
    slowfast_r50_16x8,
    slowfast_r101_8x8,
    slowfast_r101_8x8_all,
    slowfast_r101_16x8,
    slowfast_r101_16x8_nl,
)
from vadis.models.snippets import (
    snippets_conv_pooling,
    snippets_late_pooling,
    snippets_local_pooling,
    snippets_lstm,
    snippets_slow_pooling,
    snippets_time_conv,
)
from vadis.models.sound import sound_resnet18, sound_vggish, sound_xception
from vadis.models.stc import stc_resnet3d_101, stc_resnext3d_101
from vadis.models.stream_sequences import streams_late, streams_lstm, streams_shifting_attention
from vadis.models.timesformer import (
    timesformer_axial,
    timesformer_divided,
    timesformer_hr,
    timesformer_joint,
    timesformer_l,
    timesformer_local_global,
    timesformer_space,
)
from vadis.models.tsn import tsn_bninception, tsn_r18, tsn_r50, tsn_r101
from vadis.models.two_stream import (
    two_stream_resnet50,
    two_stream_resnet101,
    two_stream_spatial_inception,
    two_stream_spatial_resnet50,
    two_stream_spatial_resnet101,
    two_stream_spatial_vgg16,
    two_stream_spatial_vggm,
    two_stream_temporal_inception,
    two_stream_temporal_resnet50,
    two_stream_temporal_resnet101,
    two_stream_temporal_vgg16,
    two_stream_temporal_vggm,
    two_stream_vgg16,
    two_stream_vggm,
)
from vadis.specs import ClipSpec, spec_from_dict

__all__ = ["MODELS", "VideoModel", "create_model", "list_models", "model_names"]

logger = logging.getLogger(__name__)

MODELS: dict[str, Callable[..., VideoModel]] = {
    "i3d_inception": i3d_inception,
    "i3d_inception_flow": i3d_inception_flow,
    "c3d": c3d,
    "c3d_bn": c3d_bn,
    "r2d_18": r2d_18,
    "fr2d_18": fr2d_18,
    "r3d_18": r3d_18,
    "mc2_18": mc2_18,
    "mc3_18": mc3_18,
    "mc4_18": mc4_18,
    "mc5_18": mc5_18,
    "rmc2_18": rmc2_18,
    "rmc3_18": rmc3_18,
    "rmc4_18": rmc4_18,
    "rmc5_18": rmc5_18,
    "r2plus1d_18": r2plus1d_18,
    "r2plus1d_18_per_block": r2plus1d_18_per_block,
    "r2d_34": r2d_34,
    "fr2d_34": fr2d_34,
    "r3d_34": r3d_34,
    "mc2_34": mc2_34,
    "mc3_34": mc3_34,
    "mc4_34": mc4_34,
    "mc5_34": mc5_34,
    "rmc2_34": rmc2_34,
    "rmc3_34": rmc3_34,
    "rmc4_34": rmc4_34,
    "rmc5_34": rmc5_34,
    "r2plus1d_34": r2plus1d_34,
    "r2plus1d_50": r2plus1d_50,
    "r2plus1d_101": r2plus1d_101,
    "r2plus1d_152": r2plus1d_152,
    "ir_csn_152": ir_csn_152,
    "ip_csn_152": ip_csn_152,
    "resnet3d_18": resnet3d_18,
    "resnet3d_34": resnet3d_34,
    "resnet3d_50": resnet3d_50,
    "resnet3d_101": resnet3d_101,
    "resnet3d_152": resnet3d_152,
    "resnet3d_200": resnet3d_200,
    "resnext3d_101": resnext3d_101,
    "se_resnet3d_50": se_resnet3d_50,
    "se_resnet3d_101": se_resnet3d_101,
    "se_resnext3d_101": se_resnext3d_101,
    "stc_resnet3d_101": stc_resnet3d_101,
    "stc_resnext3d_101": stc_resnext3d_101,
    "artnet_r18": artnet_r18,
    "artnet_s_r18": artnet_s_r18,
    "c3d_r18": c3d_r18,
    "eco_lite": eco_lite,
    "eco_full": eco_full,
    "timesformer_space": timesformer_space,
    "timesformer_joint": timesformer_joint,
    "timesformer_divided": timesformer_divided,
    "timesformer_local_global": timesformer_local_global,
    "timesformer_axial": timesformer_axial,
    "timesformer_hr": timesformer_hr,
    "timesformer_l": timesformer_l,
    "s3d": s3d,
    "s3dg": s3dg,
    "s3d_fast": s3d_fast,
    "i2d_inception": i2d_inception,
    "i3d_top_heavy": i3d_top_heavy,
    "i3d_bottom_heavy": i3d_bottom_heavy,
    "p3d_63": p3d_63,
    "p3d_131": p3d_131,
    "p3d_199": p3d_199,
    "p3d_r50": p3d_r50,
    "p3d_r101": p3d_r101,
    "lgd_p3d_r50": lgd_p3d_r50,
    "lgd_p3d_r101": lgd_p3d_r101,
    "lgd_p3d_r50_128x1": lgd_p3d_r50_128x1,
    "lgd_p3d_r101_128x1": lgd_p3d_r101_128x1,
    "lgd_p3d_xception": lgd_p3d_xception,
    "lgd_p3d_xception_128x1": lgd_p3d_xception_128x1,
    "lgd_se_resnet3d_50": lgd_se_resnet3d_50,
    "lgd_se_resnet3d_101": lgd_se_resnet3d_101,
    "lgd_resnext3d_101": lgd_resnext3d_101,
    "lgd_se_resnext3d_101": lgd_se_resnext3d_101,
    "p3d_xception": p3d_xception,
    "mfnet3d": mfnet3d,
    "c2d_r50_32x2": c2d_r50_32x2,
    "c2d_r101_32x2": c2d_r101_32x2,
    "i3d_r50_32x2": i3d_r50_32x2,
    "i3d_r101_32x2": i3d_r101_32x2,
    "i3d_r50_32x2_3x3x3": i3d_r50_32x2_3x3x3,
    "i3d_r101_32x2_3x3x3": i3d_r101_32x2_3x3x3,
    "c2d_r50_32x2_nl1": c2d_r50_32x2_nl1,
    "c2d_r50_32x2_nl5": c2d_r50_32x2_nl5,
    "c2d_r50_32x2_nl10": c2d_r50_32x2_nl10,
    "c2d_r101_32x2_nl1": c2d_r101_32x2_nl1,
    "c2d_r101_32x2_nl5": c2d_r101_32x2_nl5,
    "i3d_r50_32x2_nl5": i3d_r50_32x2_nl5,
    "i3d_r101_32x2_nl5": i3d_r101_32x2_nl5,
    "c2d_r50_128x1": c2d_r50_128x1,
    "c2d_r101_128x1": c2d_r101_128x1,
    "i3d_r50_128x1": i3d_r50_128x1,
    "i3d_r101_128x1": i3d_r101_128x1,
    "i3d_r50_128x1_nl5": i3d_r50_128x1_nl5,
    "i3d_r101_128x1_nl5": i3d_r101_128x1_nl5,
    "c2d_r50_8x8": c2d_r50_8x8,
    "i3d_r50_8x8": i3d_r50_8x8,
    "i3d_r101_8x8": i3d_r101_8x8,
    "c2d_r50_8x8_nl5": c2d_r50_8x8_nl5,
    "i3d_r50_8x8_nl5": i3d_r50_8x8_nl5,
    "i3d_r101_8x8_nl5": i3d_r101_8x8_nl5,
    "i3d_r50_32x4": i3d_r50_32x4,
    "i3d_r50_32x4_nl5": i3d_r50_32x4_nl5,
    "slow_r50_4x16": slow_r50_4x16,
    "slow_r50_8x8": slow_r50_8x8,
    "slow_r50_4x16_nl5": slow_r50_4x16_nl5,
    "slow_r50_8x8_nl5": slow_r50_8x8_nl5,
    "slowfast_r50_4x16": slowfast_r50_4x16,
    "slowfast_r50_8x8": slowfast_r50_8x8,
    "slowfast_r50_16x8": slowfast_r50_16x8,
    "slowfast_r50_4x16_nl5": slowfast_r50_4x16_nl5,
    "slowfast_r50_8x8_nl5": slowfast_r50_8x8_nl5,
    "slowfast_r101_8x8": slowfast_r101_8x8,
    "slowfast_r101_8x8_all": slowfast_r101_8x8_all,
    "slowfast_r101_16x8": slowfast_r101_16x8,
    "slowfast_r101_16x8_nl": slowfast_r101_16x8_nl,
    "deepvideo_single": deepvideo_single,
    "deepvideo_early": deepvideo_early,
    "deepvideo_late": deepvideo_late,
    "deepvideo_slow": deepvideo_slow,
    "deepvideo_multires": deepvideo_multires,
    "deepvideo_fovea": deepvideo_fovea,
    "deepvideo_context": deepvideo_context,
    "snippets_conv_pooling": snippets_conv_pooling,
    "snippets_late_pooling": snippets_late_pooling,
    "snippets_slow_pooling": snippets_slow_pooling,
    "snippets_local_pooling": snippets_local_pooling,
    "snippets_time_conv": snippets_time_conv,
    "snippets_lstm": snippets_lstm,
    "lstm_inception": lstm_inception,
    "two_stream_inception": two_stream_inception,
    "fused3d_inception": fused3d_inception,
    "two_stream_i3d": two_stream_i3d,
    "two_stream_spatial_vggm": two_stream_spatial_vggm,
    "two_stream_temporal_vggm": two_stream_temporal_vggm,
    "two_stream_vggm": two_stream_vggm,
    "two_stream_spatial_vgg16": two_stream_spatial_vgg16,
    "two_stream_temporal_vgg16": two_stream_temporal_vgg16,
    "two_stream_spatial_resnet50": two_stream_spatial_resnet50,
    "two_stream_temporal_resnet50": two_stream_temporal_resnet50,
    "two_stream_spatial_resnet101": two_stream_spatial_resnet101,
    "two_stream_temporal_resnet101": two_stream_temporal_resnet101,
    "two_stream_spatial_inception": two_stream_spatial_inception,
    "two_stream_temporal_inception": two_stream_temporal_inception,
    "two_stream_vgg16": two_stream_vgg16,
    "two_stream_resnet50": two_stream_resnet50,
    "two_stream_resnet101": two_stream_resnet101,
    "tsn_bninception": tsn_bninception,
    "tsn_r18": tsn_r18,
    "tsn_r50": tsn_r50,
    "tsn_r101": tsn_r101,
    "sound_xception": sound_xception,
    "sound_resnet18": sound_resnet18,
    "sound_vggish": sound_vggish,
    "streams_late": streams_late,
    "streams_lstm": streams_lstm,
    "streams_shifting_attention": streams_shifting_attention,
    "fused_vggm_relu5_sum": fused_vggm_relu5_sum,
    "fused_vggm_relu5_max": fused_vggm_relu5_max,
    "fused_vggm_relu5_concat": fused_vggm_relu5_concat,
    "fused_vggm_relu5_bilinear": fused_vggm_relu5_bilinear,
    "fused_vggm_relu5_conv": fused_vggm_relu5_conv,
    "fused_vggm_relu2_conv": fused_vggm_relu2_conv,
    "fused_vggm_relu3_conv": fused_vggm_relu3_conv,
    "fused_vggm_relu4_conv": fused_vggm_relu4_conv,
    "fused_vggm_relu5_fc8_conv": fused_vggm_relu5_fc8_conv,
    "fused_vggm_relu3_relu5_fc6_conv": fused_vggm_relu3_relu5_fc6_conv,
    "fused_vgg16": fused_vgg16,
    "fused_vgg16_3d_pool": fused_vgg16_3d_pool,
    "fused_vgg16_2d": fused_vgg16_2d,
    "aggregate_average": aggregate_average,
    "aggregate_tcp": aggregate_tcp,
    "aggregate_average_streams": aggregate_average_streams,
    "aggregate_tcp_streams": aggregate_tcp_streams,
}
"""Name -> function that builds the network; its arguments are the options of `create_model`."""

model_names: tuple[str, ...] = tuple(MODELS)


def list_models(pattern: str = "*", weights: bool = False) -> list[str]:
    """Names of the networks that match a shell pattern ("i3d*"), in alphabetical order.

    With `weights`, the names of the published weights instead: "i3d_inception.k400" and so on.
    """
    if not weights:
        return sorted(fnmatch.filter(MODELS, pattern))
    from vadis.models.weights import WEIGHTS

    return sorted(fnmatch.filter(WEIGHTS, pattern))


def create_model(
    name: str,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    tiny: bool = False,
    **options: Any,
) -> VideoModel:
    """Build a network, and load weights into it if some are named.

    name: one of `list_models()`, or with published weights after a dot ("i3d_inception.k400").
    weights: a tag ("k400"), a full name, or the path of a .safetensors file that vadis wrote (pulled,
    imported). num_classes: where it is not the weights' own, the head starts anew and the log says so.
    tiny: the small form for tests. options: those of the network's function (`in_channels`, `dropout`
    ...); with in_channels other than the weights', the first layer's filters are averaged and repeated.

    The result has `spec` (what goes in), `name`, `class_names` (None without weights) and
    `weights_sha256` (of the published file; None without). Raises ValueError with the nearest name if a
    name is wrong, and with the keys or both shapes if weights do not fit.
    """
    model_name, _, tag = name.partition(".")
    maker = MODELS.get(model_name)
    if maker is None:
        raise ValueError(f"no model is called {model_name!r}{_nearest(model_name, MODELS)}")
    if tag and weights is not None:
        raise ValueError(f"weights are named twice: {name!r} and weights={str(weights)!r}")
    source = _weights_source(model_name, tag or weights)
    if source is None:
        model = maker(**_given(num_classes=num_classes), tiny=tiny, **options)
        model.name = model_name
        model.options = {"tiny": tiny, **options}
        return model
    if tiny and isinstance(source, str):
        raise ValueError(f"{source} is for the full network: leave out tiny, or the weights")
    from vadis.models.weights import load

    loaded = load(source)
    metadata = loaded.metadata
    trained_as = str(metadata["model"])
    if _family(trained_as) != _family(model_name):
        raise ValueError(f"{source} holds weights of {trained_as!r}, not of {model_name!r}")
    trained_classes = int(metadata["num_classes"])
    as_filed = {"tiny": tiny, **metadata.get("options", {})}
    if trained_as != model_name:  # the stream of another modality: what it takes is this name's matter
        as_filed = {key: value for key, value in as_filed.items() if key not in ("in_channels", "modality")}
    built_with = {**as_filed, **options}
    model = maker(**built_with, num_classes=trained_classes)
    model.options = built_with
    _load_strictly(model, loaded.state, str(source))
    model.name = str(metadata.get("name") or model_name)
    model.weights_sha256 = metadata.get("sha256")
    if metadata.get("class_names"):
        model.class_names = tuple(metadata["class_names"])
    model.calibration = metadata.get("calibration")
    if metadata.get("spec") is not None:
        usual = model.spec
        if options:
            with torch.device("meta"):
                usual = maker(**as_filed, num_classes=trained_classes).spec
        model.spec = _adopt_spec(model.spec, spec_from_dict(metadata["spec"]), usual, options)
    if num_classes is not None and num_classes != trained_classes:
        model.reset_head(num_classes)
        logger.warning(
            "%s: the head for %d classes gives way to an untrained one for %d; all else is as it was trained",
            model.name,
            trained_classes,
            num_classes,
        )
    return model


def _family(name: str) -> str:
    """A network's name, the same for the streams of all modalities: their weights start one another."""
    return name.removesuffix("_flow").replace("_temporal_", "_spatial_")


def _weights_source(model_name: str, weights: str | Path | None) -> str | Path | None:
    """A tag, a full name or a path -> the name or the path that `load` takes; None if none is named."""
    if weights is None:
        return None
    from vadis.models.weights import WEIGHTS, is_pulled

    text = str(weights)
    for name in (text, f"{model_name}.{text}"):
        kin = _family(name.partition(".")[0]) == _family(model_name)
        if kin and (name in WEIGHTS or is_pulled(name)):
            return name
    if text.endswith(".safetensors") or Path(text).is_file():
        return Path(text)
    tags = [name.partition(".")[2] for name in WEIGHTS if name.partition(".")[0] == model_name]
    hint = _nearest(text.removeprefix(f"{model_name}."), tags)
    raise ValueError(f"{model_name} has no weights called {text!r}, and there is no such file{hint}")


def _adopt_spec(built: ClipSpec, stated: ClipSpec, usual: ClipSpec, options: Iterable[str] = ()) -> ClipSpec:
    """What a network takes whose weights say what they were trained on: that, where the modality is the same.

    What the caller asked for by an option stays, part by part: what has the option's name (`num_frames`,
    `crop` ...), and what is `built` otherwise than `usual`, the spec without the caller's options
    (`num_segments` changes the number of frames).
    """
    kin = {stated.modality, built.modality} in ({"rgb", "rgb_diff"}, {"flow", "warped_flow"})
    if stated.modality != built.modality and not (kin and usual.modality == built.modality):
        return built
    asked = {key for key in options if hasattr(stated, key)}
    asked |= {"size"} if "crop" in asked else set()  # a crop of another size is cut from another picture
    names = {field.name for field in fields(ClipSpec)} - {"modality", "parts"}
    same = usual.modality == built.modality
    kept = {
        name: getattr(built, name)
        for name in names
        if name in asked or (same and getattr(built, name) != getattr(usual, name))
    }
    parts = {
        name: _adopt_spec(part, stated.parts[name], usual.parts.get(name, part), options)
        for name, part in built.parts.items()
        if name in stated.parts
    }
    return replace(stated, **kept, parts=parts)


def _load_strictly(model: VideoModel, state: Mapping[str, Tensor], source: str) -> None:
    """Load every tensor of `state`; whatever is missing, unexpected or of another shape is an error.

    Only batch norm's step counters may be missing: files from elsewhere lack them, and nothing uses them.
    A network whose weights depend on the size of its clips brings them to its own first (`adapt_state`).
    """
    own = model.state_dict()
    counters = {key: own[key] for key in own if key.endswith(".num_batches_tracked")}
    state = {**counters, **state}
    for key in model.input_weights:
        first, channels = state.get(key), own[key].shape[1]
        if first is not None and first.shape[1] != channels:
            state[key] = average_channels(first, channels)
            logger.warning(
                "%s: the first layer's filters (%s), for %d channels, are averaged and repeated for %d",
                source,
                key,
                first.shape[1],
                channels,
            )
    if model.adapt_state is not None:
        adapted = model.adapt_state(state)
        for key in [key for key in adapted if adapted[key].shape != state[key].shape]:
            logger.warning(
                "%s: %s is resized from %s to %s",
                source,
                key,
                tuple(state[key].shape),
                tuple(adapted[key].shape),
            )
        state = adapted
    faults = [f"missing: {key}" for key in own if key not in state]
    faults += [f"unexpected: {key}" for key in state if key not in own]
    faults += [
        f"wrong shape: {key} is {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if faults:
        raise ValueError(f"{source} does not fit {type(model).__name__}:\n  " + "\n  ".join(faults))
    model.load_state_dict(state)


def average_channels(weight_DCTHW: Tensor, num_channels: int) -> Tensor:
    """First-layer filters for another number of input channels: their mean, repeated.

    weight_DCTHW: any number of trailing axes. Returns the same with C = num_channels; the response to
    an input whose channels are all alike changes by num_channels / C, which batch norm takes up.
    Source: Wang et al., Temporal Segment Networks (2016), cross-modality initialisation.
    """
    mean = weight_DCTHW.mean(dim=1, keepdim=True)
    return torch.repeat_interleave(mean, num_channels, dim=1)


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence: the nearest known name, then all of them if they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    nearest = f"; did you mean {close[0]!r}?" if close else ""
    listed = f" Known: {', '.join(names)}" if len(names) <= 20 else ""
    return f"{nearest or '.'}{listed}" if names else ""


def _given(**values: Any) -> dict[str, Any]:
    """The arguments that are not None, so that a function's own defaults hold for the others."""
    return {key: value for key, value in values.items() if value is not None}
