"""One file of weights for a network of several streams, from the files of its streams.

Streams that meet only in their scores are trained one by one, and published so: I3D on RGB and I3D on flow
are two files. Each is pulled or imported by itself, and `join_streams` puts them side by side.

    parts = {"rgb": "i3d_inception.k400", "flow": "flow.safetensors"}
    join_streams("two_stream_i3d", parts, "both.safetensors")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vadis.models import create_model
from vadis.models.weights import WeightsError, load, save_model
from vadis.specs import join_specs, spec_from_dict


def join_streams(
    model: str, parts: Mapping[str, str | Path], out: str | Path, *, name: str | None = None, **options: Any
) -> Path:
    """Make one file for a network of several modalities from the files of its streams.

    model: such as "two_stream_i3d". parts: for each modality what `load` takes, as its stream was trained or
    imported by itself ({"rgb": "i3d_inception.k400", "flow": "flow.safetensors"}). out, name: as for
    `save_model`. options: of the network's function. Raises WeightsError where modalities are missing or
    unknown, classes differ, or keys do not fit.
    """
    loaded = {part: load(source) for part, source in parts.items()}
    facts = {part: each.metadata for part, each in loaded.items()}
    classes = {part: (fact["num_classes"], fact.get("class_names")) for part, fact in facts.items()}
    said = ", ".join(f"{part} has {count}" for part, (count, _) in classes.items())
    if len({count for count, _ in classes.values()}) != 1:
        raise WeightsError(f"the streams must know the same classes; {said or 'there is none'}")
    (count, names), *others = classes.values()
    if any(each is not None and names is not None and each != names for _, each in others):
        raise WeightsError("the streams must know the same classes; their names differ")
    tiny = any((fact.get("options") or {}).get("tiny") for fact in facts.values())
    if "audio" in facts:  # a stream that a network of two has if asked for
        options.setdefault("audio", str(facts["audio"]["model"]))
    try:
        network = create_model(model, num_classes=int(count), tiny=tiny, **options)
    except TypeError as error:
        raise WeightsError(f"{model} has no stream of sound; got {', '.join(parts)}") from error
    if set(network.spec.parts) != set(parts):
        wanted = ", ".join(network.spec.parts) or "one tensor, no streams"
        raise WeightsError(f"{model} takes {wanted}; got {', '.join(parts)}")
    state = {f"{part}.{key}": value for part, each in loaded.items() for key, value in each.state.items()}
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    wrong = [key for key in state if key in own and own[key].shape != state[key].shape]
    parts_of = (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
    faults = [f"{len(keys)} keys are {what} ({', '.join(keys[:3])})" for what, keys in parts_of if keys]
    if faults:
        raise WeightsError(f"the streams do not fit {model}: {'; '.join(faults)}")
    network.load_state_dict(state, strict=False)
    network.class_names = next((tuple(each) for _, each in classes.values() if each), None)
    specs = {part: facts[part].get("spec") for part in network.spec.parts}
    network.spec = join_specs(
        {part: spec_from_dict(spec) if spec else network.spec.parts[part] for part, spec in specs.items()}
    )
    return save_model(network, out, name)
