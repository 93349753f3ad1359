"""Training runs by name: the table, and how to get one.

    recipe = make_recipe("slowfast_r50_8x8_k400")          # a paper's
    recipe = default_recipe("i3d_inception.k400", 200)      # what to try first with any network

A recipe joins by a function that returns a `vadis.config.Recipe` and one line in `RECIPES`. One file holds
one paper's; `small` holds what a laptop finishes. A name is the network's and the dataset's. Where a recipe
starts from another's network, its `model.init` is that recipe's name and ".safetensors": put the file there,
or say where it is with `--init`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from vadis.config import Recipe
from vadis.recipes import (
    artnet,
    c3d,
    csn,
    deepvideo,
    eco,
    fused_streams,
    i3d,
    lgd,
    mfnet,
    nonlocal_net,
    p3d,
    quo_vadis,
    r2plus1d,
    resnet3d,
    s3d,
    slowfast,
    small,
    snippets,
    sound,
    stc,
    timesformer,
    tsn,
    two_stream,
)
from vadis.recipes.small import default_recipe

__all__ = ["RECIPES", "WITHOUT", "default_recipe", "make_recipe"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    # a laptop's
    "new_classes_head": small.new_classes_head,
    "new_classes_top": small.new_classes_top,
    "shapes_small": small.shapes_small,
    "mocap_small": small.mocap_small,
    # C3D
    "c3d_sports1m": c3d.sports1m,
    "c3d_ucf101": c3d.ucf101,
    # I3D
    "i3d_inception_k400": i3d.kinetics,
    "i3d_inception_k400_imagenet": i3d.kinetics_imagenet,
    "i3d_inception_ucf101": partial(i3d.fine_tuning, "UCF-101", "95.1"),
    "i3d_inception_hmdb51": partial(i3d.fine_tuning, "HMDB-51", "74.3"),
    "i3d_inception_charades": i3d.charades,
    "i3d_inception_flow_k400": i3d.flow_kinetics,
    "i3d_inception_flow_k400_imagenet": partial(i3d.flow_kinetics, "imagenet"),
    "i3d_inception_flow_ucf101": partial(i3d.flow_fine_tuning, "UCF-101", "96.7"),
    "i3d_inception_flow_hmdb51": partial(i3d.flow_fine_tuning, "HMDB-51", "77.1"),
    "c3d_bn_k400": i3d.convnet_3d,
    # R(2+1)D
    "r2d_18_k400": partial(r2plus1d.kinetics, "r2d_18"),
    "fr2d_18_k400": partial(r2plus1d.kinetics, "fr2d_18"),
    "r3d_18_k400": partial(r2plus1d.kinetics, "r3d_18"),
    "mc2_18_k400": partial(r2plus1d.kinetics, "mc2_18"),
    "mc3_18_k400": partial(r2plus1d.kinetics, "mc3_18"),
    "mc4_18_k400": partial(r2plus1d.kinetics, "mc4_18"),
    "mc5_18_k400": partial(r2plus1d.kinetics, "mc5_18"),
    "rmc2_18_k400": partial(r2plus1d.kinetics, "rmc2_18"),
    "rmc3_18_k400": partial(r2plus1d.kinetics, "rmc3_18"),
    "rmc4_18_k400": partial(r2plus1d.kinetics, "rmc4_18"),
    "rmc5_18_k400": partial(r2plus1d.kinetics, "rmc5_18"),
    "r2plus1d_18_k400": partial(r2plus1d.kinetics, "r2plus1d_18"),
    "r2plus1d_34_k400": r2plus1d.kinetics_34,
    "r3d_18_k400_torchvision": partial(r2plus1d.torchvision, "r3d_18"),
    "mc3_18_k400_torchvision": partial(r2plus1d.torchvision, "mc3_18"),
    "r2plus1d_18_per_block_k400_torchvision": partial(r2plus1d.torchvision, "r2plus1d_18_per_block"),
    "r2plus1d_34_ucf101": partial(r2plus1d.fine_tuning, "UCF-101", 1e-4, 10),
    "r2plus1d_34_hmdb51": partial(r2plus1d.fine_tuning, "HMDB-51", 2e-4, 11),
    # CSN
    "ir_csn_152_k400": partial(csn.kinetics, "ir_csn_152"),
    "ip_csn_152_k400": partial(csn.kinetics, "ip_csn_152"),
    # P3D
    "p3d_199_sports1m": p3d.sports1m,
    "p3d_63_ucf101": partial(p3d.ucf101, "p3d_63", "84.2"),
    "p3d_131_ucf101": partial(p3d.ucf101, "p3d_131", ""),
    "p3d_r50_k400": partial(p3d.kinetics, "p3d_r50"),
    "p3d_r101_k400": partial(p3d.kinetics, "p3d_r101"),
    # S3D
    "s3d_k400": partial(s3d.kinetics, "s3d"),
    "s3d_k400_scratch": s3d.kinetics_scratch,
    "s3dg_k400": partial(s3d.kinetics, "s3dg"),
    "s3d_fast_k400": partial(s3d.kinetics, "s3d_fast"),
    "i2d_inception_k400": partial(s3d.kinetics, "i2d_inception"),
    "i3d_top_heavy_k400": partial(s3d.kinetics, "i3d_top_heavy"),
    "i3d_bottom_heavy_k400": partial(s3d.kinetics, "i3d_bottom_heavy"),
    # 3D ResNets, and STC on them
    "resnet3d_18_k400": partial(resnet3d.kinetics, "resnet3d_18"),
    "resnet3d_34_k400": partial(resnet3d.kinetics, "resnet3d_34"),
    "resnet3d_50_k400": partial(resnet3d.kinetics, "resnet3d_50"),
    "resnet3d_101_k400": partial(resnet3d.kinetics, "resnet3d_101"),
    "resnet3d_152_k400": partial(resnet3d.kinetics, "resnet3d_152"),
    "resnet3d_200_k400": partial(resnet3d.kinetics, "resnet3d_200"),
    "resnext3d_101_k400": partial(resnet3d.kinetics, "resnext3d_101"),
    "resnext3d_101_64f_k400": resnet3d.kinetics_long,
    "resnext3d_101_64f_ucf101": partial(resnet3d.fine_tuning, "UCF-101", "94.5"),
    "resnext3d_101_64f_hmdb51": partial(resnet3d.fine_tuning, "HMDB-51", "70.2"),
    "stc_resnet3d_101_k400": partial(stc.kinetics, "stc_resnet3d_101", 16),
    "stc_resnext3d_101_k400": partial(stc.kinetics, "stc_resnext3d_101", 32),
    # MFNet, ARTNet, ECO
    "mfnet3d_k400": mfnet.kinetics,
    "mfnet3d_ucf101": mfnet.ucf101,
    "artnet_r18_k400": partial(artnet.kinetics, "artnet_r18", 28),
    "artnet_s_r18_k400": partial(artnet.kinetics, "artnet_s_r18", 28),
    "c3d_r18_k400": partial(artnet.kinetics, "c3d_r18", 32),
    "eco_lite_k400": eco.lite,
    "eco_full_k400": eco.full,
    "eco_lite_ucf101": eco.ucf101,
    "eco_lite_ssv1": eco.something,
    # non-local networks
    "c2d_r50_32x2_k400": partial(nonlocal_net.short_clips, "c2d_r50_32x2"),
    "c2d_r50_32x2_nl1_k400": partial(nonlocal_net.short_clips, "c2d_r50_32x2_nl1"),
    "c2d_r50_32x2_nl5_k400": partial(nonlocal_net.short_clips, "c2d_r50_32x2_nl5"),
    "c2d_r50_32x2_nl10_k400": partial(nonlocal_net.short_clips, "c2d_r50_32x2_nl10"),
    "c2d_r101_32x2_k400": partial(nonlocal_net.short_clips, "c2d_r101_32x2"),
    "c2d_r101_32x2_nl1_k400": partial(nonlocal_net.short_clips, "c2d_r101_32x2_nl1"),
    "c2d_r101_32x2_nl5_k400": partial(nonlocal_net.short_clips, "c2d_r101_32x2_nl5"),
    "i3d_r50_32x2_k400": partial(nonlocal_net.short_clips, "i3d_r50_32x2"),
    "i3d_r50_32x2_3x3x3_k400": partial(nonlocal_net.short_clips, "i3d_r50_32x2_3x3x3"),
    "i3d_r50_32x2_nl5_k400": partial(nonlocal_net.short_clips, "i3d_r50_32x2_nl5"),
    "i3d_r101_32x2_k400": partial(nonlocal_net.short_clips, "i3d_r101_32x2"),
    "i3d_r101_32x2_3x3x3_k400": partial(nonlocal_net.short_clips, "i3d_r101_32x2_3x3x3"),
    "i3d_r101_32x2_nl5_k400": partial(nonlocal_net.short_clips, "i3d_r101_32x2_nl5"),
    "c2d_r50_128x1_k400": partial(nonlocal_net.long_clips, "c2d_r50_128x1", "c2d_r50_32x2"),
    "c2d_r101_128x1_k400": partial(nonlocal_net.long_clips, "c2d_r101_128x1", "c2d_r101_32x2"),
    "i3d_r50_128x1_k400": partial(nonlocal_net.long_clips, "i3d_r50_128x1", "i3d_r50_32x2"),
    "i3d_r101_128x1_k400": partial(nonlocal_net.long_clips, "i3d_r101_128x1", "i3d_r101_32x2"),
    "i3d_r50_128x1_nl5_k400": partial(nonlocal_net.long_clips, "i3d_r50_128x1_nl5", "i3d_r50_32x2_nl5"),
    "i3d_r101_128x1_nl5_k400": partial(nonlocal_net.long_clips, "i3d_r101_128x1_nl5", "i3d_r101_32x2_nl5"),
    "c2d_r50_8x8_k400": partial(nonlocal_net.short_clips, "c2d_r50_8x8"),
    "c2d_r50_8x8_nl5_k400": partial(nonlocal_net.short_clips, "c2d_r50_8x8_nl5"),
    "i3d_r50_8x8_k400": partial(nonlocal_net.short_clips, "i3d_r50_8x8"),
    "i3d_r50_8x8_nl5_k400": partial(nonlocal_net.short_clips, "i3d_r50_8x8_nl5"),
    "i3d_r50_32x4_k400": partial(nonlocal_net.long_clips, "i3d_r50_32x4", "i3d_r50_8x8"),
    "i3d_r50_32x4_nl5_k400": partial(nonlocal_net.long_clips, "i3d_r50_32x4_nl5", "i3d_r50_8x8_nl5"),
    "i3d_r101_8x8_k400": partial(slowfast.released, "i3d_r101_8x8"),
    "i3d_r101_8x8_nl5_k400": partial(slowfast.released, "i3d_r101_8x8_nl5"),
    # SlowFast
    "slowfast_r50_4x16_k400": partial(slowfast.kinetics, "slowfast_r50_4x16"),
    "slowfast_r50_8x8_k400": partial(slowfast.kinetics, "slowfast_r50_8x8"),
    "slowfast_r101_8x8_k400": partial(slowfast.kinetics, "slowfast_r101_8x8"),
    "slowfast_r101_16x8_k400": partial(slowfast.kinetics, "slowfast_r101_16x8"),
    "slowfast_r101_16x8_nl_k400": partial(slowfast.kinetics, "slowfast_r101_16x8_nl"),
    "slowfast_r101_16x8_nl_k600": slowfast.kinetics600,
    "slow_r50_4x16_k400": partial(slowfast.released, "slow_r50_4x16"),
    "slow_r50_8x8_k400": partial(slowfast.released, "slow_r50_8x8"),
    "slow_r50_4x16_nl5_k400": partial(slowfast.released, "slow_r50_4x16_nl5"),
    "slow_r50_8x8_nl5_k400": partial(slowfast.released, "slow_r50_8x8_nl5"),
    "slowfast_r50_4x16_nl5_k400": partial(slowfast.released, "slowfast_r50_4x16_nl5"),
    "slowfast_r50_8x8_nl5_k400": partial(slowfast.released, "slowfast_r50_8x8_nl5"),
    "slowfast_r101_8x8_all_k400": partial(slowfast.released, "slowfast_r101_8x8_all"),
    "slowfast_r50_16x8_charades": slowfast.charades,
    "slowfast_r101_16x8_nl_charades": slowfast.charades_nonlocal,
    "slowfast_r50_16x8_ssv2": slowfast.something,
    # TimeSformer
    "timesformer_space_k400": partial(timesformer.kinetics, "timesformer_space"),
    "timesformer_joint_k400": partial(timesformer.kinetics, "timesformer_joint"),
    "timesformer_divided_k400": partial(timesformer.kinetics, "timesformer_divided"),
    "timesformer_local_global_k400": partial(timesformer.kinetics, "timesformer_local_global"),
    "timesformer_axial_k400": partial(timesformer.kinetics, "timesformer_axial"),
    "timesformer_hr_k400": partial(timesformer.kinetics, "timesformer_hr"),
    "timesformer_l_k400": partial(timesformer.kinetics, "timesformer_l"),
    "timesformer_divided_k600": partial(timesformer.kinetics, "timesformer_divided", timesformer.K600),
    "timesformer_hr_k600": partial(timesformer.kinetics, "timesformer_hr", timesformer.K600),
    "timesformer_l_k600": partial(timesformer.kinetics, "timesformer_l", timesformer.K600),
    "timesformer_space_ssv2": partial(timesformer.something, "timesformer_space"),
    "timesformer_joint_ssv2": partial(timesformer.something, "timesformer_joint"),
    "timesformer_divided_ssv2": partial(timesformer.something, "timesformer_divided"),
    "timesformer_local_global_ssv2": partial(timesformer.something, "timesformer_local_global"),
    "timesformer_axial_ssv2": partial(timesformer.something, "timesformer_axial"),
    "timesformer_hr_ssv2": partial(timesformer.something, "timesformer_hr"),
    "timesformer_l_ssv2": partial(timesformer.something, "timesformer_l"),
    # LGD
    "lgd_p3d_r50_k400": partial(lgd.kinetics, "lgd_p3d_r50"),
    "lgd_p3d_r101_k400": partial(lgd.kinetics, "lgd_p3d_r101"),
    "lgd_p3d_r101_128x1_k400": lgd.kinetics_long,
    # sound
    "sound_resnet18_k400": sound.mmaction2,
    # TSN
    # two streams, and their fusion
    "two_stream_spatial_vggm_ucf101": two_stream.spatial,
    "two_stream_spatial_vggm_ucf101_all": partial(two_stream.spatial, "all"),
    "two_stream_spatial_vggm_ucf101_scratch": partial(two_stream.spatial, "scratch"),
    "two_stream_temporal_vggm_ucf101": two_stream.temporal,
    "two_stream_temporal_vggm_ucf101_trajectory": partial(two_stream.temporal, "trajectory"),
    "two_stream_temporal_vggm_ucf101_bidirectional": partial(two_stream.temporal, "bidirectional"),
    "two_stream_temporal_vggm_ucf101_mean_kept": partial(two_stream.temporal, "optical", False),
    "two_stream_temporal_vggm_hmdb51": two_stream.temporal_hmdb51,
    "two_stream_temporal_vggm_hmdb51_union": partial(two_stream.temporal_hmdb51, "union"),
    "two_stream_spatial_vgg16_ucf101": two_stream.spatial_vgg16,
    "two_stream_temporal_vgg16_ucf101": two_stream.temporal_vgg16,
    "fused_vgg16_ucf101": fused_streams.ucf101,
    "fused_vgg16_hmdb51": fused_streams.hmdb51,
    "fused_vgg16_3d_pool_ucf101": partial(fused_streams.ucf101, "fused_vgg16_3d_pool", 89.64),
    "fused_vgg16_3d_pool_hmdb51": partial(fused_streams.hmdb51, "fused_vgg16_3d_pool", 57.58),
    "fused_vgg16_2d_ucf101": partial(fused_streams.ucf101, "fused_vgg16_2d", 89.35),
    "fused_vgg16_2d_hmdb51": partial(fused_streams.hmdb51, "fused_vgg16_2d", 56.93),
    # TSN
    "tsn_bninception_ucf101": tsn.ucf101,
    "tsn_bninception_ucf101_flow": tsn.ucf101_flow,
    "tsn_bninception_hmdb51": tsn.hmdb51,
    "tsn_bninception_hmdb51_flow": tsn.hmdb51_flow,
    "tsn_r50_k400": tsn.kinetics,
    # DeepVideo
    "deepvideo_single_sports1m": partial(deepvideo.sports1m, "deepvideo_single"),
    "deepvideo_early_sports1m": partial(deepvideo.sports1m, "deepvideo_early"),
    "deepvideo_late_sports1m": partial(deepvideo.sports1m, "deepvideo_late"),
    "deepvideo_slow_sports1m": partial(deepvideo.sports1m, "deepvideo_slow"),
    "deepvideo_multires_sports1m": partial(deepvideo.sports1m, "deepvideo_multires"),
    "deepvideo_fovea_sports1m": partial(deepvideo.sports1m, "deepvideo_fovea"),
    "deepvideo_context_sports1m": partial(deepvideo.sports1m, "deepvideo_context"),
    "deepvideo_slow_ucf101_scratch": partial(deepvideo.ucf101, "scratch"),
    "deepvideo_slow_ucf101_top": partial(deepvideo.ucf101, "top"),
    "deepvideo_slow_ucf101_top3": partial(deepvideo.ucf101, "top3"),
    "deepvideo_slow_ucf101_all": partial(deepvideo.ucf101, "all"),
    # pooling and LSTM
    "snippets_conv_pooling_sports1m_1f": snippets.single_frame,
    "snippets_conv_pooling_sports1m_30f": partial(snippets.pooling, 30),
    "snippets_conv_pooling_sports1m_120f": partial(snippets.pooling, 120),
    "snippets_lstm_sports1m": snippets.lstm,
    # the I3D paper's other networks
    "lstm_inception_k400": partial(quo_vadis.kinetics, "lstm_inception"),
    "two_stream_inception_k400": partial(quo_vadis.kinetics, "two_stream_inception"),
    "fused3d_inception_k400": partial(quo_vadis.kinetics, "fused3d_inception"),
    "two_stream_i3d_k400": quo_vadis.two_stream_i3d,
}
"""Name -> function that returns the recipe."""

WITHOUT: dict[str, str] = {
    "two_stream_vggm two_stream_vgg16": "the paper trains their streams one by one: two_stream_spatial_*, "
    "two_stream_temporal_*",
    "two_stream_resnet* two_stream_*al_resnet* two_stream_*al_inception": "the papers' own are on VGG",
    "fused_vggm_*": "the published code trains the final network only; fused_vgg16_ucf101 is the way",
    "r2d_34 fr2d_34 r3d_34 mc?_34 rmc?_34": "their paper trains 18 layers of them",
    "r2plus1d_50 r2plus1d_101 r2plus1d_152": "of VMZ's model zoo, which does not say how they were trained",
    "se_resnet3d_* se_resnext3d_*": "no paper trained them",
    "lgd_p3d_r50_128x1": "no number is published of it; lgd_p3d_r101_128x1_k400 is the way",
    "lgd_se_* lgd_resnext3d_*": "no paper trained them",
    "lgd_p3d_xception lgd_p3d_xception_128x1 p3d_xception": "the challenge report does not say how",
    "sound_xception": "the challenge report does not say how",
    "sound_vggish": "its 70 million videos are not public, and it is published without their classifier",
    "streams_*": "they learn on features of networks that are trained before; the report gives no numbers",
    "tsn_r18 tsn_r101": "the published ones are BN-Inception and ResNet-50; tsn_r50_k400 is the way",
    "aggregate_*": "they learn on features of networks that are trained before; the report gives no numbers",
    "snippets_late_pooling snippets_slow_pooling snippets_local_pooling snippets_time_conv": "compared in "
    "their paper only; train them as snippets_conv_pooling_sports1m_120f",
}
"""Networks without a recipe of their own (shell patterns), and why."""


def make_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError with the nearest name where there is none."""
    maker = RECIPES.get(name)
    if maker is None:
        close = difflib.get_close_matches(name, RECIPES, 1, 0.4)
        hint = f"; did you mean {close[0]!r}?" if close else "; see `vadis recipes list`"
        raise ValueError(f"no recipe is called {name!r}{hint}")
    return maker()
