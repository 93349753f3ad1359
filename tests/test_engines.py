"""Engines: each gives the network's answers, on any shape, or is refused with the reason."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vadis import engines, folding, openvino_engine, parity
from vadis.engines import EngineError, create_engine, list_engines
from vadis.models import create_model
from vadis.specs import ClipSpec

SHAPE = (1, 3, 16, 64, 64)
USABLE = [name for name, reason in list_engines().items() if reason is None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    network = create_model("i3d_inception", tiny=True, num_classes=7).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def verdicts() -> list[Path]:
    return sorted(Path(os.environ["VADIS_CACHE"]).glob("engines/verdict-*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", USABLE)
def test_each_engine_gives_the_logits_of_the_network(name: str, model: nn.Module) -> None:
    engine = create_engine(model, engine=name, shape_BCTHW=SHAPE)
    assert (engine.name, engine.device, engine.precision) == (name, "cpu", "float32")
    assert engine.parity is not None
    assert engine.parity < 1e-4
    # prepared for; a batch; T not a multiple of 8; another size that was not announced
    unseen = [(2, 3, 19, 40, 33), (1, 3, 9, 64, 64)][: 1 if name == "openvino" else 2]  # it compiles slowly
    for shape in [SHAPE, (3, *SHAPE[1:]), *unseen]:
        clip_BCTHW = torch.rand(shape) * 2 - 1
        logits_BK = engine(clip_BCTHW)
        assert logits_BK.dtype == torch.float32
        with torch.inference_mode():
            torch.testing.assert_close(logits_BK, model(clip_BCTHW), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", USABLE)
def test_bf16_is_near_and_says_so(name: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_fast_bf16", lambda: True)
    engine = create_engine(model, engine=name, precision="bf16", shape_BCTHW=SHAPE)
    clip_BCTHW = torch.rand(SHAPE) * 2 - 1
    assert engine.precision == "bf16"
    torch.testing.assert_close(engine(clip_BCTHW), model(clip_BCTHW), rtol=0, atol=0.1)


def test_bf16_without_hardware_becomes_float32(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "has_fast_bf16", lambda: False)
    engine = create_engine(model, engine="torch", precision="bf16", shape_BCTHW=SHAPE)
    assert engine.precision == "float32"
    assert "slower than float32" in caplog.text


def test_frames_are_normalised_by_the_spec(model: nn.Module) -> None:
    frames_BTHWC = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 16, 64, 64, 3), np.uint8))
    engine = create_engine(model, engine="torch", shape_BCTHW=SHAPE)
    clip_BCTHW = frames_BTHWC.float().permute(0, 4, 1, 2, 3) / 127.5 - 1
    torch.testing.assert_close(engine.run_frames(frames_BTHWC), model(clip_BCTHW), rtol=0, atol=1e-5)
    spec = ClipSpec(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    channel = (3, 1, 1, 1)
    clip_BCTHW = frames_BTHWC.float().permute(0, 4, 1, 2, 3) / 255
    clip_BCTHW = (clip_BCTHW - torch.tensor(spec.mean).view(channel)) / torch.tensor(spec.std).view(channel)
    torch.testing.assert_close(engine.run_frames(frames_BTHWC, spec), model(clip_BCTHW), rtol=0, atol=1e-5)


def test_threads_are_set_for_the_call_only(model: nn.Module) -> None:
    before = torch.get_num_threads()
    seen = []
    engine = create_engine(model, engine="torch", shape_BCTHW=SHAPE, threads=before + 1)
    engine._runs[SHAPE] = lambda clip: seen.append(torch.get_num_threads()) or clip
    engine(torch.zeros(SHAPE))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_only_a_few_shapes_are_kept(model: nn.Module) -> None:
    engine = create_engine(model, engine="torch", shape_BCTHW=SHAPE)
    for num_frames in range(9, 16):
        engine(torch.zeros(1, 3, num_frames, 32, 32))
    assert len(engine._runs) == engines.MAX_SHAPES


def test_network_that_cannot_be_folded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class ByValue(nn.Module):
        spec = ClipSpec(num_frames=4, size=8, crop=8)

        def forward(self, clip_BCTHW: Tensor) -> Tensor:
            return clip_BCTHW.mean((2, 3, 4)) * (2 if clip_BCTHW.sum() > 0 else 3)

    engine = create_engine(ByValue(), engine="torch")
    assert "runs as it is written" in caplog.text
    torch.testing.assert_close(engine(-torch.ones(1, 3, 4, 8, 8)), torch.full((1, 3), -3.0))


# --- the check --------------------------------------------------------------------------------------------


def spoil(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Make the torch engine give other logits than the network."""
    build = engines._build_torch

    def broken(*arguments: Any) -> parity.Run:
        run = build(*arguments)
        return lambda clip_BCTHW: change(run(clip_BCTHW))

    monkeypatch.setattr(engines, "_build_torch", broken)


@pytest.mark.parametrize("change", [lambda x: x + 0.002, lambda x: x * torch.nan, lambda x: -x])
def test_engine_with_other_logits_is_refused(
    change: Any, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, change)
    for _ in range(2):  # the second time from the remembered verdict
        with pytest.raises(EngineError, match="gives other logits"):
            create_engine(model, engine="torch", shape_BCTHW=SHAPE)


@pytest.mark.skipif("openvino" not in USABLE, reason="openvino is not installed")
def test_auto_passes_over_a_broken_engine(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(monkeypatch, lambda x: x + 1)
    engine = create_engine(model, engine="auto", device="cpu", shape_BCTHW=SHAPE)
    assert engine.name == "openvino"
    assert "'torch' is passed over" in caplog.text
    monkeypatch.setattr(openvino_engine, "build_openvino", lambda *_: lambda clip: torch.zeros(1, 7))
    for file in verdicts():
        file.unlink()
    with pytest.raises(EngineError, match="no engine passes"):
        create_engine(model, engine="auto", device="cpu", shape_BCTHW=SHAPE)


def test_verdict_is_remembered_per_weights_and_shape(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_engine(model, engine="torch", shape_BCTHW=SHAPE)
    assert len(verdicts()) == 1
    monkeypatch.setattr(parity, "run_plain", lambda *_: pytest.fail("the plain network ran again"))
    assert create_engine(model, engine="torch", shape_BCTHW=SHAPE).parity is not None
    with pytest.raises(pytest.fail.Exception):  # another shape
        create_engine(model, engine="torch", shape_BCTHW=(1, 3, 16, 64, 32))
    with torch.no_grad():
        model.head.bias.add_(1e-3)
    try:
        with pytest.raises(pytest.fail.Exception):  # other weights
            create_engine(model, engine="torch", shape_BCTHW=SHAPE)
    finally:
        with torch.no_grad():
            model.head.bias.sub_(1e-3)


@pytest.mark.parametrize("text", ["", "{", '{"parity": 0}', "[1, 2, 3]", '{"parity": [], "seconds": {}}'])
def test_torn_verdict_is_measured_again(text: str, model: nn.Module) -> None:
    create_engine(model, engine="torch", shape_BCTHW=SHAPE)
    verdicts()[0].write_text(text)
    assert create_engine(model, engine="torch", shape_BCTHW=SHAPE).parity is not None
    assert json.loads(verdicts()[0].read_text())["tolerance"] == parity.TOLERANCE["float32"]


def test_cache_that_is_a_file_is_no_error(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "file"))
    assert create_engine(model, engine="torch", shape_BCTHW=SHAPE).parity is not None
    assert "nothing is remembered" in caplog.text


# --- choosing ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif("openvino" not in USABLE, reason="openvino is not installed")
@pytest.mark.parametrize("times", [[2.0, 1.0], [1.0, 2.0]])
def test_auto_tries_the_other_engine_after_much_work(
    times: list[float], model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "time_paired", lambda runs, *_: times if len(runs) == 2 else [1.0])
    first = create_engine(model, device="cpu", shape_BCTHW=SHAPE)
    clip_BCTHW = torch.rand(SHAPE)
    first(clip_BCTHW)
    assert len(verdicts()) == 1  # a short job never converts anything
    monkeypatch.setattr(engines, "TRIAL_AFTER_SECONDS", 0.0)
    first(clip_BCTHW)
    assert first.name == "torch"  # never changed midway
    assert len(verdicts()) == 2
    second = create_engine(model, device="cpu", shape_BCTHW=SHAPE)
    assert second.name == ("openvino" if times[1] < times[0] else "torch")
    assert second.after_work is None


@pytest.mark.skipif("openvino" not in USABLE, reason="openvino is not installed")
def test_openvino_starts_from_its_kept_network(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    clip_BCTHW = torch.rand(SHAPE)
    logits_BK = create_engine(model, engine="openvino", shape_BCTHW=SHAPE)(clip_BCTHW)
    monkeypatch.setattr(openvino_engine, "convert_openvino", lambda *_: pytest.fail("converted again"))
    assert torch.equal(create_engine(model, engine="openvino", shape_BCTHW=SHAPE)(clip_BCTHW), logits_BK)


@pytest.mark.slow
@pytest.mark.skipif("openvino" not in USABLE, reason="openvino is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks of Linux")
def test_a_signal_after_an_openvino_network_is_no_crash() -> None:
    script = (
        "import os, signal, threading\n"
        "from vadis.engines import create_engine\n"
        "from vadis.models import create_model\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('heard'))\n"
        "model = create_model('i3d_inception', tiny=True)\n"
        "kept = [create_engine(model, engine='openvino', shape_BCTHW=(1, 3, 9, 32, 32))]\n"
        "thread = threading.Thread(target=kept.clear)\n"
        "thread.start()\n"
        "thread.join()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["heard", "alive"]), done.stderr


@pytest.mark.slow
@pytest.mark.skipif("openvino" not in USABLE, reason="openvino is not installed")
def test_openvino_reports_to_nobody() -> None:
    # a process of its own, outside CI's exemption from telemetry, with every child and connection refused
    script = (
        "import multiprocessing, socket, sys, torch\n"
        "def refuse(*_, **__): print('REACHED OUT', flush=True); raise OSError\n"
        "multiprocessing.Process.start = socket.socket.connect = refuse\n"
        "from vadis.engines import create_engine\n"
        "from vadis.models import create_model\n"
        "model = create_model('i3d_inception', tiny=True)\n"
        "print(create_engine(model, engine='openvino', shape_BCTHW=(1, 3, 9, 32, 32)).name)\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split("\n")[:2] == ["openvino", "[]"]


def test_missing_openvino_has_a_reason(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: None)
    assert list_engines()["torch"] is None
    assert "not installed" in str(list_engines()["openvino"])
    with pytest.raises(EngineError, match=r"pip install openvino"):
        create_engine(model, engine="openvino", shape_BCTHW=SHAPE)
    with caplog.at_level(logging.WARNING):
        assert create_engine(model, engine="auto", device="cpu", shape_BCTHW=SHAPE).name == "torch"
    assert "passed over" not in caplog.text  # not installed is not worth a warning


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "openvin"}, "did you mean 'openvino'"),
        ({"engine": "tensorrt"}, "known: auto, torch, openvino"),
        ({"device": "gpu"}, "cpu, cuda, mps"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(
    options: dict[str, str], said: str, model: nn.Module
) -> None:
    with pytest.raises(ValueError, match=said):
        create_engine(model, shape_BCTHW=SHAPE, **options)


def test_devices() -> None:
    assert engines.choose_device("cpu") == "cpu"
    assert engines.choose_device("auto") in engines.DEVICES
    for device, there in {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }.items():
        if not there:
            with pytest.raises(EngineError, match="not available"):
                engines.choose_device(device)


def test_openvino_is_refused_beside_the_cpu(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(EngineError, match="runs on the cpu"):
        create_engine(model, engine="openvino", device="cuda", shape_BCTHW=SHAPE)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_accelerator_gives_the_logits_of_the_network(precision: str, model: nn.Module) -> None:
    device = engines.choose_device("auto")
    engine = create_engine(model, device=device, precision=precision, shape_BCTHW=SHAPE)
    assert (engine.name, engine.device) == ("torch", device)
    clip_BCTHW = torch.rand(3, *SHAPE[1:]) * 2 - 1
    tolerance = 1e-3 if precision == "float32" else 0.1
    torch.testing.assert_close(engine(clip_BCTHW), model(clip_BCTHW), rtol=0, atol=tolerance)


def test_wrong_input_is_named(model: nn.Module) -> None:
    engine = create_engine(model, engine="torch", shape_BCTHW=SHAPE)
    with pytest.raises(ValueError, match=r"clips_BCTHW.*\(3, 16, 64, 64\)"):
        engine(torch.zeros(SHAPE[1:]))
    with pytest.raises(ValueError, match="at least 9 frames"):
        engine(torch.zeros(1, 3, 4, 64, 64))


def test_folding_is_what_runs(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "copy_network", lambda *_, **__: pytest.fail("ran unfolded"))
    assert create_engine(model, engine="torch", shape_BCTHW=SHAPE).parity is not None
