"""I3D features over time, as many papers use them: one vector of 1024 for each 64 frames, saved as npz.

python examples/features.py a.mp4 a.npz
"""

import sys

import numpy as np
import torch

import vadis
from vadis.models import VideoModel
from vadis.video.transform import prepare_clip


def main(video: str, target: str, model: VideoModel | None = None) -> None:
    """Write features_ND and the seconds_N2 of each vector\'s first and last frame to `target`."""
    model = (model or vadis.create_model("i3d_inception.k400")).eval()
    spec = model.spec
    features, times = [], []
    with vadis.stream_frames(video, fps=spec.fps, short_side=spec.size, chunk=spec.num_frames) as stream:
        for frames in stream:
            if len(frames) < 9:  # the network's shortest clip; the end of the video
                break
            clip_BCTHW = prepare_clip(frames.frames_TCHW, spec)[None]
            with torch.inference_mode():
                feature_BDTHW = model.forward_features(clip_BCTHW)
            features.append(feature_BDTHW.mean(dim=(0, 2, 3, 4)).numpy())
            times.append((frames.times_T[0], frames.times_T[-1]))
    if not features:
        raise SystemExit(f"{video} is shorter than 9 frames at {spec.fps} Hz: too short for a feature")
    np.savez(target, features_ND=np.stack(features), seconds_N2=np.array(times))
    print(f"{target}: {len(features)} vectors of {len(features[0])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
