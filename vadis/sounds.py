"""Pictures of sound by name: whose convention has which numbers, and how sure we are of each.

    log_mel(wave_S, SOUNDS["avslowfast"].spec)

The same second of sound looks different to each network, so a picture is only worth something to weights that
were trained on its convention. `known` says what a published source or its authors' code states; what it does
not state is our choice, and `unsure` names it with (?). Code was read, none was copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from vadis.specs import MMACTION2_SOUND, VGGISH_SOUND, SoundSpec

CHALLENGE_SOUND = SoundSpec(num_steps=1_000, num_mels=128, fft_size=1_024)
"""Of `sound_xception`: ten seconds at 16 kHz, windows of 25 ms every 10 ms, 128 bands."""

LIBROSA_SOUND = SoundSpec(
    sample_rate=22_050,
    window_seconds=2_048 / 22_050,
    hop_seconds=512 / 22_050,
    num_mels=128,
    low=0.0,
    high=11_025.0,
    log="db",
    power=2.0,
    offset=0.0,
    floor=1e-10,
    padding="centre",
    mel="slaney",
    triangles="hertz",
    equal_area=True,
)
"""Of librosa: `power_to_db(feature.melspectrogram(...), top_db=None)` with nothing else said."""

AVSLOWFAST_SOUND = SoundSpec(
    window_seconds=0.032,
    hop_seconds=0.016,
    num_mels=80,
    low=0.0,
    high=8_000.0,
    num_steps=128,
    power=2.0,
    offset=1e-8,
    triangles="hertz",
    equal_area=True,
)
"""Of Audiovisual SlowFast (arXiv:2001.08740)."""

PYTORCHVIDEO_SOUND = SoundSpec(
    window_seconds=0.032,
    hop_seconds=0.016,
    num_mels=80,
    low=0.0,
    high=8_000.0,
    num_steps=128,
    power=2.0,
    offset=0.0,
    floor=1e-10,
    triangles="hertz",
)
"""Of pytorchvideo's acoustic networks: torchaudio's `MelSpectrogram`, then the natural logarithm."""

VMZ_SOUND = SoundSpec(
    window_seconds=0.016,
    hop_seconds=0.010,
    fft_size=512,
    num_mels=40,
    low=0.0,
    high=8_000.0,
    num_steps=100,
    power=2.0,
    offset=1e-8,
)
"""Of VMZ's audio-visual input (Gradient-Blending, arXiv:1905.12681)."""


@dataclass(frozen=True)
class Convention:
    """One way to make pictures of sound: its numbers, where they stand, what of them is ours."""

    spec: SoundSpec
    known: str
    unsure: str = ""


SOUNDS: dict[str, Convention] = {
    "vggish": Convention(
        VGGISH_SOUND,
        "research/audioset/vggish of tensorflow/models (vggish_params.py): all of it. Pictures of 0.96 s "
        "that share nothing; a sound of less than 15,600 samples has none.",
    ),
    "mmaction2": Convention(
        MMACTION2_SOUND,
        "tools/data/build_audio_features.py of mmaction2 0.x, with its own call (512, 256): all of it, by "
        "lws and librosa. It brings a whole file to one loudness; our clips are each brought to it.",
    ),
    "avslowfast": Convention(
        AVSLOWFAST_SOUND,
        "arXiv:2001.08740: windows of 32 ms every 16 ms, 128 x 80. The authors' code (a branch of "
        "facebookresearch/SlowFast): 16 kHz, mean of the channels, librosa's melspectrogram with htk=True "
        "and center=False, natural logarithm of power + 1e-8.",
        "80 bands (?): the code's default is 40, which its configurations may replace.",
    ),
    "pytorchvideo": Convention(
        PYTORCHVIDEO_SOUND,
        "pytorchvideo_trainer of facebookresearch/pytorchvideo (train.py, _audio_transform): all of it, by "
        "torchaudio. Its networks then take (x + 7.03) / 4.66: mean and std of the ClipSpec.",
    ),
    "vmz": Convention(
        VMZ_SOUND,
        "av_input_op.h of facebookresearch/VMZ (caffe2): 16 kHz, 40 bands, 100 steps, windows of 16 ms every "
        "10 ms. It then stretches the picture to the length of the visual clip, which we do not.",
        "scale, ends and logarithm of the bands (?): in a library that is not public.",
    ),
    "challenge": Convention(
        CHALLENGE_SOUND,
        "arXiv:1906.07016 says that an Xception read the sound, nothing of its picture.",
        "every number (?): a proposal of ours, ten seconds in one picture of 299 x 299.",
    ),
    "librosa": Convention(
        LIBROSA_SOUND, "librosa's own defaults for melspectrogram and power_to_db, without top_db: all of it."
    ),
}
"""Conventions by name; `vadis audio --convention` takes them."""


def find_convention(name: str) -> Convention:
    """The convention of a name. Raises ValueError for another."""
    if name not in SOUNDS:
        raise ValueError(f"no pictures of sound are called {name!r}; there are {', '.join(SOUNDS)}")
    return SOUNDS[name]
