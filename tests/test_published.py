"""The table of published weights: rows that can be used, and the way from an address to a network."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from torchvision.models import video

from vadis import downloads, inspection
from vadis.downloads import DownloadError
from vadis.fetching import pull_in_view
from vadis.models import MODELS, create_model, weights
from vadis.models.layouts import LAYOUTS
from vadis.models.published import _ROWS, WEIGHTS
from vadis.models.weights import WeightsError, class_names

GOLDEN = Path(__file__).parent / "golden" / "parity"

# --- the rows


def test_each_row_of_the_table_can_be_used() -> None:
    assert len(WEIGHTS) == len(_ROWS)
    for name, row in WEIGHTS.items():
        assert name == row.name
        assert weights.NAME.fullmatch(name)
        assert row.model in MODELS
        assert name.partition(".")[0] == row.model
        assert row.layout in LAYOUTS
        assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
        assert row.git_blob_sha1 is None or re.fullmatch("[0-9a-f]{40}", row.git_blob_sha1)
        assert row.sha256_prefix is None or re.fullmatch("[0-9a-f]{8}", row.sha256_prefix)
        assert row.package or (row.url and row.url.startswith("https://"))
        assert not row.git_blob_sha1 or re.search(r"/raw/[0-9a-f]{40}/", str(row.url))
        assert row.licence
        assert row.attribution
        assert row.trained_on
        assert row.protocol
        assert row.spec is not None
        assert row.spec.channels == (2 if row.modality == "flow" else 3)
        assert row.classes is None or len(class_names(row.classes)) == row.num_classes
        assert bool(row.restriction) == ("NC" in row.licence)


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_each_row_s_clip_fits_its_network(name: str) -> None:
    row = WEIGHTS[name]
    assert row.spec is not None
    with torch.device("meta"), torch.no_grad():
        model = create_model(row.model, num_classes=row.num_classes).eval()
        shape = (1, row.spec.channels, row.spec.num_frames, row.spec.crop, row.spec.crop)
        assert model(torch.empty(shape)).shape == (1, row.num_classes)
    assert model.spec.num_frames == row.spec.num_frames or row.model == "s3d"
    assert model.spec.channel_order == row.spec.channel_order or "ssv2" in name


def test_torchvision_s_rows_say_what_torchvision_says() -> None:
    for model, theirs in {
        "r3d_18": video.R3D_18_Weights.DEFAULT,
        "mc3_18": video.MC3_18_Weights.DEFAULT,
        "r2plus1d_18_per_block": video.R2Plus1D_18_Weights.DEFAULT,
        "s3d": video.S3D_Weights.DEFAULT,
    }.items():
        row, transforms = WEIGHTS[f"{model}.k400"], theirs.transforms()
        assert row.url == theirs.url
        assert f"-{row.sha256_prefix}.pth" in theirs.url
        assert row.spec is not None
        assert [row.spec.crop] * 2 == transforms.crop_size
        assert row.spec.size == transforms.resize_size[0]
        assert (list(row.spec.mean), list(row.spec.std)) == (transforms.mean, transforms.std)
        stated = re.search(r"frame_rate=(\d+).*clip_len=(\d+)", theirs.meta["_docs"])
        assert stated
        assert (row.spec.fps, row.spec.num_frames) == (float(stated[1]), int(stated[2]))
        metrics = theirs.meta["_metrics"]["Kinetics-400"]
        assert f"top-1 {metrics['acc@1']:.1f}, top-5 {metrics['acc@5']:.1f}" in row.claimed
        assert tuple(theirs.meta["categories"]) == class_names("kinetics400")


def test_classes_are_in_the_order_that_others_print() -> None:
    """Places in the list of names that PySlowFast and pytorchvideo publish for their weights."""
    names = class_names("kinetics400")
    for name, place in {
        "abseiling": 0,
        "bench pressing": 19,
        "eating ice cream": 115,
        "hurling (sport)": 161,
        "massaging person's head": 196,
        "passing American football (in game)": 208,
        "passing American football (not in game)": 209,
        "petting animal (not cat)": 212,
        "sharpening knives": 290,
        "skiing (not slalom or crosscountry)": 308,
        "skiing crosscountry": 309,
        "tying knot (not on a tie)": 369,
        "using remote controller (not gaming)": 374,
        "zumba": 399,
    }.items():
        assert names[place] == name


# --- from an address to a network


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path, with ranges; counts what was asked for; `broken` ends the next answer early."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.broken = False
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        self.server.asked[self.path] += 1
        self.server.ranges.append(self.headers.get("Range"))
        if content is None:
            self.send_error(404)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range", etag) == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", etag)
        self.end_headers()
        if self.server.broken:
            self.server.broken = False
            self.wfile.write(content[start : start + len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def publish(
    monkeypatch: pytest.MonkeyPatch, server: Server, name: str, file: str, content: bytes, **changes: object
) -> None:
    """Let the row `name` point to `content` on the local server."""
    server.files[f"/{file}"] = content
    row = replace(WEIGHTS[name], url=f"{server.url}/{file}", **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(WEIGHTS, name, row)


def stirred(model: torch.nn.Module) -> torch.nn.Module:
    """Weights as after training: batch norm's statistics are not those of a new network."""
    torch.manual_seed(0)
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("r3d_18", video.r3d_18),
        ("mc3_18", video.mc3_18),
        ("r2plus1d_18_per_block", video.r2plus1d_18),
        ("s3d", video.s3d),
    ],
)
def test_torchvision_s_files_become_networks_that_answer_as_torchvision_s(
    model: str,
    maker: object,
    server: Server,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    theirs = stirred(maker())  # type: ignore[operator]
    content = saved(theirs.state_dict())
    digest, name = hashlib.sha256(content).hexdigest(), f"{model}.k400"
    file = f"{model}-{digest[:8]}.pth"
    publish(monkeypatch, server, name, file, content, sha256_prefix=digest[:8])
    server.broken = True  # the connection drops half way
    with caplog.at_level(logging.WARNING):
        ours = create_model(name).eval()
    assert server.asked == {f"/{file}": 2}
    assert str(server.ranges[1]).startswith("bytes=")
    assert f"only how it begins ({digest[:8]}); {digest} is recorded" in caplog.text
    assert (cache / "published" / name / f"{file}.sha256").read_text() == f"{digest}  {file}\n"
    assert ours.class_names == class_names("kinetics400")
    assert ours.spec == WEIGHTS[name].spec
    assert ours.weights_sha256 == digest
    clip = torch.randn(1, 3, 16, 112, 112) if model != "s3d" else torch.randn(1, 3, 16, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(ours(clip), theirs(clip), rtol=1e-4, atol=1e-4)
    assert weights.verify(name)[0].status == "ok"
    create_model(name)
    assert server.asked == {f"/{file}": 2}
    publish(monkeypatch, server, name, file, content, sha256_prefix="00000000")
    with pytest.raises(DownloadError, match="sha256 that begins with 00000000"):
        weights.pull(name, force=True)


# --- what pytorchvideo and PySlowFast keep in their zoos


def as_pytorchvideo(key: str) -> str:
    """A key of PySlowFast's SlowFast in pytorchvideo's spelling, by how the two are built."""
    leaf = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    for pattern, spelling in (
        (rf"s1\.pathway(\d)_stem\.conv{leaf}", r"blocks.0.multipathway_blocks.\1.conv.\2"),
        (rf"s1\.pathway(\d)_stem\.bn{leaf}", r"blocks.0.multipathway_blocks.\1.norm.\2"),
        (rf"s(\d)_fuse\.conv_f2s{leaf}", r"blocks.<\1>.multipathway_fusion.conv_fast_to_slow.\2"),
        (rf"s(\d)_fuse\.bn{leaf}", r"blocks.<\1>.multipathway_fusion.norm.\2"),
        (
            rf"s(\d)\.pathway(\d)_res(\d+)\.branch1{leaf}",
            r"blocks.<\1>.multipathway_blocks.\2.res_blocks.\3.branch1_conv.\4",
        ),
        (
            rf"s(\d)\.pathway(\d)_res(\d+)\.branch1_bn{leaf}",
            r"blocks.<\1>.multipathway_blocks.\2.res_blocks.\3.branch1_norm.\4",
        ),
        (
            rf"s(\d)\.pathway(\d)_res(\d+)\.branch2\.([abc]){leaf}",
            r"blocks.<\1>.multipathway_blocks.\2.res_blocks.\3.branch2.conv_\4.\5",
        ),
        (
            rf"s(\d)\.pathway(\d)_res(\d+)\.branch2\.([abc])_bn{leaf}",
            r"blocks.<\1>.multipathway_blocks.\2.res_blocks.\3.branch2.norm_\4.\5",
        ),
        (rf"head\.projection{leaf}", r"blocks.6.proj.\1"),
    ):
        match = re.fullmatch(pattern, key)
        if match:
            return re.sub(r"<(\d)>", lambda stage: str(int(stage[1]) - 1), match.expand(spelling))
    raise AssertionError(f"{key} has no rule")


@pytest.mark.slow
def test_a_file_of_pytorchvideo_s_zoo_answers_as_the_authors_network(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The authors' output for weights made by a rule; the file with all that the zoo saves beside them."""
    document = json.loads((GOLDEN / "sf_slowfast_4x16_r50.json").read_text())
    theirs = all_by_the_rule(document["state"], document["weight_scale"])
    state = {as_pytorchvideo(key): torch.from_numpy(array) for key, array in theirs.items()}
    optimiser = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    whole = {
        "epoch": 195,
        "model_state": state,
        "optimizer_state": optimiser,
        "cfg": "MODEL:\n  ARCH: slowfast",
    }
    publish(monkeypatch, server, "slowfast_r50_4x16.k400", "SLOWFAST_4x16_R50.pyth", saved(whole))
    with caplog.at_level(logging.WARNING):
        model = create_model("slowfast_r50_4x16.k400").eval()
    assert "the publisher states none" in caplog.text
    assert model.class_names == class_names("kinetics400")
    noise = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    with torch.inference_mode():
        found = model(torch.from_numpy(noise)).flatten().numpy()
    wanted = np.array(document["output"])
    assert abs(found - wanted).max() <= 1e-4 * wanted.std()
    beside = weights.load("slowfast_r50_4x16.k400").metadata["beside"]
    assert beside == ["epoch (int)", "optimizer_state (dict)", "cfg (str)"]


# Around the conversion: a small network's file, and a table whose row it is.

SMALL = "i3d_inception.k400_imagenet"
FILE = "small.pt"


@pytest.fixture
def small(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The file of a row without any hash; conversion is a copy of one tensor."""

    def convert(request: dict[str, str], file: Path) -> dict[str, object]:
        state = torch.load(request["file"], weights_only=True)
        weights.safetensors.torch.save_file(state, request["out"])
        rest: dict[str, object] = {"options": {}, "left_out": [], "beside": [], "own": {}}
        return {**rest, "layout": "piergiaj", "num_classes": 400}

    monkeypatch.setattr(weights, "_run_conversion", convert)
    content = saved({"head.bias": torch.zeros(400)})
    publish(monkeypatch, server, SMALL, FILE, content, git_blob_sha1=None)
    return content


def test_a_file_without_a_known_hash_is_recorded_and_compared(
    small: bytes, server: Server, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = hashlib.sha256(small).hexdigest()
    with caplog.at_level(logging.WARNING):
        weights.pull(SMALL)
    record = cache / "published" / SMALL / f"{FILE}.sha256"
    assert f"the publisher states none; {digest} is recorded in {record}" in caplog.text
    caplog.clear()
    weights.pull(SMALL, force=True)
    assert caplog.text == ""  # the second time there is nothing new to say
    status = weights.verify(SMALL)[0]
    assert status.status == "ok"
    assert digest in status.detail
    assert "recorded on first use" in status.detail
    assert weights.load(SMALL).metadata["check"] == WEIGHTS[SMALL].check

    published = record.with_name(FILE)
    published.write_bytes(b"damaged")
    assert weights.verify(SMALL)[0].status == "broken"
    server.files[f"/{FILE}"] = saved({"head.bias": torch.ones(400)})  # and by now there is another file
    with pytest.raises(DownloadError) as caught:
        weights.pull(SMALL, force=True)
    assert "is not the file that came first" in str(caught.value)
    assert str(record) in str(caught.value)
    assert f"`vadis weights import FILE --model i3d_inception --name {SMALL}`" in str(caught.value)
    server.files[f"/{FILE}"] = small
    weights.pull(SMALL, force=True)
    assert weights.verify(SMALL)[0].status == "ok"
    record.unlink()
    broken = weights.verify(SMALL)[0]
    assert (broken.status, "the record of its hash" in broken.detail) == ("broken", True)


def test_a_file_without_a_known_hash_can_be_carried_over(
    small: bytes, server: Server, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a network the user's word is taken once, and compared from then on."""
    file, other = tmp_path / "carried.pt", tmp_path / "other.pt"
    file.write_bytes(small)
    other.write_bytes(saved({"head.bias": torch.ones(400)}))
    nameless = weights.import_checkpoint(file, "i3d_inception")
    assert weights.load(nameless).metadata["name"] == "i3d_inception.carried"
    with caplog.at_level(logging.WARNING):
        path = weights.import_checkpoint(file, "i3d_inception", name=SMALL)
    assert hashlib.sha256(small).hexdigest() in caplog.text
    assert path == cache / "weights" / f"{SMALL}.safetensors"
    assert weights.load(SMALL).metadata["claimed"] == WEIGHTS[SMALL].claimed
    assert server.asked == {}
    assert weights.verify(SMALL)[0].status == "ok"
    with pytest.raises(WeightsError, match=r"is not the file that .* was first: expected sha256"):
        weights.import_checkpoint(other, "i3d_inception", name=SMALL)
    server.files[f"/{FILE}"] = other.read_bytes()
    with pytest.raises(DownloadError, match="is not the file that came first"):
        weights.pull(SMALL, force=True)


def test_a_file_whose_hash_begins_as_stated_is_the_row_s(
    small: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "renamed.pt"
    file.write_bytes(small)
    begins = hashlib.sha256(small).hexdigest()[:8]
    monkeypatch.setitem(WEIGHTS, SMALL, replace(WEIGHTS[SMALL], sha256_prefix=begins))
    assert weights.load(weights.import_checkpoint(file, "i3d_inception")).metadata["name"] == SMALL
    monkeypatch.setitem(WEIGHTS, SMALL, replace(WEIGHTS[SMALL], sha256_prefix="00000000"))
    with pytest.raises(WeightsError, match="its hash differs"):
        weights.import_checkpoint(file, "i3d_inception", name=SMALL)


def test_a_licence_that_restricts_is_shown_before_anything_is_fetched(
    small: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    restricted = replace(WEIGHTS[SMALL], licence="CC-BY-NC-4.0", restriction="not for commercial use")
    monkeypatch.setitem(WEIGHTS, SMALL, restricted)
    seen: list[str] = []

    def fetch(url: str, target: Path, **options: object) -> Path:
        seen.append(caplog.text + capsys.readouterr().err)
        return downloads.download(url, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(weights, "download", fetch)
    with caplog.at_level(logging.WARNING):
        weights.load(SMALL)  # as `create_model` does it
    assert f"{SMALL} is published under CC-BY-NC-4.0: not for commercial use" in seen[0]
    caplog.clear()
    pull_in_view(SMALL, force=True)  # as the command line does it
    assert "licence: CC-BY-NC-4.0 (not for commercial use)" in seen[1]


def test_the_hub_s_rows_are_restricted_and_the_others_are_not() -> None:
    restricted = {name for name, row in WEIGHTS.items() if row.restriction}
    assert restricted == {name for name in WEIGHTS if name.startswith("timesformer")}
    assert len(restricted) == 6


def test_classes_and_preprocessing_are_in_the_file(small: bytes) -> None:
    """What a row says of classes and preprocessing is in the file that it becomes."""
    weights.pull(SMALL)
    metadata = weights.load(SMALL).metadata
    row = WEIGHTS[SMALL]
    assert row.spec is not None
    assert metadata["class_names"][:2] == ["abseiling", "air drumming"]
    assert metadata["spec"]["crop"] == row.spec.crop


def test_an_import_says_what_it_recognised(
    small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "mine.pt", tmp_path / "ours.safetensors"
    file.write_bytes(small)
    plain = weights._run_conversion

    def convert(request: dict[str, str], path: Path) -> dict[str, object]:
        found = {
            "options": {"in_channels": 2},
            "left_out": [f"lost{n}" for n in range(10)],
            "beside": ["cfg (str)"],
        }
        return {**plain(request, path), **found}

    monkeypatch.setattr(weights, "_run_conversion", convert)
    arguments = (file, "i3d_inception", "auto", out, None)
    assert inspection.run_weights_import(*arguments, None, []) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert said.err == (
        "mine.pt: layout piergiaj, 400 classes without names (--classes SET gives them); it is "
        "i3d_inception.mine now; it implies in_channels=2; keys left out as no part of the network (10): "
        "lost0, lost1, lost2, lost3, lost4, lost5, lost6, lost7 and 2 more; "
        "passed over beside the parameters (1): cfg (str)\n"
    )
    assert inspection.run_weights_import(*arguments, "kinetics400", []) == 0
    assert "400 classes (abseiling, air drumming ...)" in capsys.readouterr().err
    assert inspection.run_weights_import(*arguments, None, [], as_json=True) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (said.err, document["file"], document["layout"]) == ("", str(out), "piergiaj")
    assert document["options"] == {"in_channels": 2}
    assert len(document["left_out"]) == 10
