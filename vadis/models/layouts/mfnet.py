"""How cypw/PyTorch-MFNet spells MFNet-3D (`vadis.models.mfnet`).

The published files (MFNet3D_Kinetics-400_72.8.pth) hold a `state_dict`, `module.` before each key. Blocks
are numbered from B01.
"""

from __future__ import annotations

from vadis.models.layouts.rules import Layout, by_rules

LEAF = r"(weight|bias|running_mean|running_var)"
PARTS = {"i1": "squeeze", "i2": "expand", "m1": "inner", "m2": "outer", "w1": "shortcut"}

MFNET = (
    Layout(
        "mfnet",
        ("mfnet3d",),
        "conv2.B01.conv_i1.conv.weight",
        by_rules(
            (r"conv1\.conv\.weight", r"stem.0.weight"),
            (rf"conv1\.bn\.{LEAF}", r"stem.1.\1"),
            *(
                (
                    rf"conv(\d)\.B{block + 1:02d}\.conv_{theirs}\.(conv|bn)\.{LEAF}",
                    rf"stage\1.{block}.{ours}.\2.\3",
                )
                for block in range(6)
                for theirs, ours in PARTS.items()
            ),
            (rf"tail\.bn\.{LEAF}", r"tail.0.\1"),
            (r"classifier\.(weight|bias)", r"head.\1"),
        ),
    ),
)
