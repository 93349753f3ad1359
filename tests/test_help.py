"""`vadis --help` answers at once: no help page loads PyTorch, FFmpeg, numpy or OpenVINO."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "numpy", "av", "openvino", "safetensors", "huggingface_hub", "PIL", "cv2"}
RUN = """
import sys
sys.argv = ["vadis", *sys.argv[1:]]
from vadis.cli import main
try:
    main()
finally:
    print("modules:", *sys.modules, file=sys.stderr)
"""


def run_and_list_modules(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the command line in a fresh interpreter; what it said, and the modules it had loaded at the end."""
    ran = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    said, _, modules = ran.stderr.partition("modules:")
    ran.stderr = said
    return ran, set(modules.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["predict", "--help"],
        ["train", "--help"],
        ["probe", "--help"],
        ["models", "--help"],
        ["weights", "--help"],
        ["weights", "import", "--help"],
        ["score", "--help"],
        ["score", "ava", "--help"],
        ["explain", "--help"],
        ["evaluate", "--help"],
        ["compare", "--help"],
        ["doctor", "--help"],
        ["demo", "--help"],
        ["extract", "--help"],
        ["flow", "--help"],
        ["transfer", "--help"],
        ["trajectories", "--help"],
        ["data", "make", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    ran, modules = run_and_list_modules(*arguments)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert "vadis.cli" in modules
    assert HEAVY.isdisjoint(modules)


def test_the_top_page_names_every_verb() -> None:
    ran, _ = run_and_list_modules("--help")
    for verb in ("predict", "probe", "models", "weights", "explain", "score", "doctor", "demo"):
        assert f" {verb} " in ran.stdout


def test_a_wrong_verb_is_wrong_usage() -> None:
    ran, modules = run_and_list_modules("pradict")
    assert ran.returncode == 2
    assert "predict" in ran.stderr
    assert HEAVY.isdisjoint(modules)
