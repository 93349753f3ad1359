"""`vadis doctor`: what is installed, what works, what is wrong, and how to mend it.

Everything that decides whether a video can be read and a model can run: versions, devices, each FFmpeg
build inside the environment (packages bring their own, and the system's updates do not reach them),
decoders, engines, cache, weights, disk. It looks and never changes anything.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = (
    "vadis",
    "torch",
    "torchvision",
    "av",
    "numpy",
    "pillow",
    "safetensors",
    "openvino",
    "typer",
    "rich",
)
WANTED_DECODERS = (
    "h264",
    "hevc",
    "vp9",
    "libdav1d",
    "mpeg4",
    "mjpeg",
    "prores",
    "ffv1",
    "gif",
    "vp8",
    "mpeg2video",
)
WANTED_ENCODERS = ("libx264", "aac")
FREE_BYTES_WANTED = 2 * 2**30

Problem = dict[str, str]


def examine() -> dict[str, Any]:
    """Everything the doctor looks at, as plain data; `problems` lists {what, mend}, empty if all is well."""
    problems: list[Problem] = []
    sections: dict[str, Callable[[list[Problem]], Any]] = {
        "versions": _versions,
        "devices": _devices,
        "ffmpeg": _ffmpeg_builds,
        "codecs": _codecs,
        "engines": _engines,
        "cache": _cache,
        "weights": _weights,
    }
    findings: dict[str, Any] = {name: look(problems) for name, look in sections.items()}
    findings["problems"] = problems
    return findings


def _versions(problems: list[Problem]) -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
            if package != "openvino":
                problems.append({"what": f"{package} is not installed", "mend": f"pip install {package}"})
    return found


def _devices(problems: list[Problem]) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "bf16": _has_bf16(),
        "cuda": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "mps": torch.backends.mps.is_available(),
    }
    if shutil.which("nvidia-smi") and not found["cuda"]:
        problems.append(
            {
                "what": "this machine has an NVIDIA driver but PyTorch sees no GPU",
                "mend": "install the CUDA build of torch that fits the driver (pytorch.org, 'Get started')",
            }
        )
    return found


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(errors="replace"))
        if match:
            return match[1]
    return platform.processor() or platform.machine()


def _has_bf16() -> bool:
    """True where the processor multiplies bf16 natively, so that `--precision bf16` pays."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and bool(
        re.search(r"\b(avx512_bf16|amx_bf16)\b", cpuinfo.read_text(errors="replace"))
    )


def _ffmpeg_builds(problems: list[Problem]) -> list[dict[str, str]]:
    """Each libavcodec in the environment, because wheels carry their own and age on their own."""
    import av

    builds = [
        {
            "of": "av (used by vadis)",
            "version": str(getattr(av, "ffmpeg_version_info", "unknown")),
            "file": str(Path(av.__file__).parent),
        }
    ]
    roots = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    pattern = re.compile(r"(lib)?avcodec[-.].*(so|dylib|dll)")
    for root in sorted(roots):
        for parent, _, files in os.walk(root):
            for name in files:
                if pattern.match(name):
                    owner = Path(parent).relative_to(root).parts[0]
                    major = re.search(r"(\d{2,3})(?:\.\d+)*", re.sub(r"-[0-9a-f]{8}", "", name))
                    version = f"libavcodec {major[1]}" if major else "unknown"
                    builds.append({"of": owner, "version": version, "file": str(Path(parent) / name)})
    if tuple(av.library_versions["libavcodec"]) < (60,):
        problems.append({"what": "PyAV carries an old FFmpeg", "mend": "pip install --upgrade av"})
    return builds


def _codecs(problems: list[Problem]) -> dict[str, dict[str, bool]]:
    import av.codec

    def usable(name: str, mode: Any) -> bool:
        try:
            av.codec.Codec(name, mode)
        except (ValueError, av.error.FFmpegError):
            return False
        return True

    decoders = {name: usable(name, "r") for name in WANTED_DECODERS}
    encoders = {name: usable(name, "w") for name in WANTED_ENCODERS}
    for kind, found in (("decode", decoders), ("encode", encoders)):
        missing = [name for name, ok in found.items() if not ok]
        if missing:
            mend = "install PyAV from its wheel (pip install --force-reinstall --only-binary av av)"
            problems.append({"what": f"this PyAV cannot {kind} {', '.join(missing)}", "mend": mend})
    return {"decoders": decoders, "encoders": encoders}


def _engines(problems: list[Problem]) -> dict[str, str]:
    from vadis.engines import list_engines

    return {name: "ready" if reason is None else reason for name, reason in list_engines().items()}


def _cache(problems: list[Problem]) -> dict[str, Any]:
    from vadis.downloads import DownloadError, cache_folder

    try:
        folder = cache_folder()
    except DownloadError as error:
        problems.append({"what": str(error), "mend": "set VADIS_CACHE to a folder that can be written"})
        return {"folder": os.environ.get("VADIS_CACHE", ""), "usable": False}
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_WANTED:
        mend = "free some space or set VADIS_CACHE to another disk"
        problems.append({"what": f"only {free / 2**30:.1f} GiB are free where the cache is", "mend": mend})
    return {"folder": str(folder), "usable": True, "size_bytes": size, "free_bytes": free}


def _weights(problems: list[Problem]) -> dict[str, str]:
    from vadis.downloads import DownloadError
    from vadis.models.weights import verify

    try:
        rows = verify()
    except DownloadError:
        return {}  # the cache cannot be used at all, which its own section reports
    for row in rows:
        if row.status == "broken":
            mend = f"vadis weights pull {row.name} --force"
            problems.append({"what": f"weights {row.name}: {row.detail}", "mend": mend})
    return {row.name: row.status for row in rows}


def run_doctor(as_json: bool) -> int:
    """`vadis doctor`: prints the findings; exit code 1 where something is wrong."""
    from vadis.inspection import print_json

    findings = examine()
    if as_json:
        print_json(findings)
    else:
        sys.stdout.write(_describe(findings))
    return 1 if findings["problems"] else 0


def _describe(findings: dict[str, Any]) -> str:
    lines = []

    def section(title: str, rows: dict[str, Any]) -> None:
        lines.append(title)
        lines.extend(f"  {name:<18} {value}" for name, value in rows.items())
        lines.append("")

    section("Versions", findings["versions"])
    devices = dict(findings["devices"])
    devices["bf16"] = "native" if devices["bf16"] else "not native (bf16 would be slower than float32)"
    devices["cuda"] = ", ".join(devices["cuda"]) or "none"
    devices["mps"] = "available" if devices["mps"] else "none"
    section("Devices", devices)
    lines.append("FFmpeg builds in this environment (each package's own)")
    lines.extend(f"  {build['of']:<18} {build['version']}  {build['file']}" for build in findings["ffmpeg"])
    lines.append("")
    codecs = findings["codecs"]
    section(
        "Codecs",
        {
            kind: ", ".join(name if ok else f"{name} MISSING" for name, ok in codecs[kind].items())
            for kind in ("decoders", "encoders")
        },
    )
    section("Engines", findings["engines"])
    cache = dict(findings["cache"])
    for key in ("size_bytes", "free_bytes"):
        if key in cache:
            cache[key.removesuffix("_bytes")] = f"{cache.pop(key) / 2**30:.2f} GiB"
    section("Cache", cache)
    section("Weights", findings["weights"])
    problems = findings["problems"]
    if not problems:
        lines.append("Nothing is wrong.")
    else:
        lines.append(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}:")
        for problem in problems:
            lines.append(f"  {problem['what']}")
            lines.append(f"    to mend it: {problem['mend']}")
    return "\n".join(lines) + "\n"
