"""Features: what each layer gives, views and times, the cache, files, and `vadis extract`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from built import small_r3d
from numbered import write_numbered
from typer.testing import CliRunner

from vadis import feature_store, features
from vadis.cli import app
from vadis.data.benchmark import make, read
from vadis.data.clip_rules import ClipRule
from vadis.data.reading import Reading
from vadis.extractor import Extractor
from vadis.feature_layers import FeatureNetwork, average_positions, list_layers, write_head
from vadis.feature_store import content_hash, load_features, read_provenance, save_features
from vadis.features import Views, extract_features, extract_windows, open_model, parse_views
from vadis.models import VideoModel, create_model
from vadis.models.weights import save_model
from vadis.records import DataError, Dataset, Example, VideoError

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def network() -> VideoModel:
    """A tiny R3D for clips of 4 frames of 32 pixels, weights by a seed."""
    return small_r3d()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shapes` at 32 pixels, 6 frames, 3 clips a class."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    make("shapes", folder, clips_per_class=3, size=32, num_frames=6, workers=1)
    return folder


@pytest.fixture(scope="module")
def few(shapes: Path) -> Dataset:
    """Six clips of it."""
    dataset = read(shapes, "test")
    return replace(dataset, examples=dataset.examples[:6])


@pytest.fixture(scope="module")
def model_file(network: VideoModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a file, as training leaves it."""
    return save_model(network, tmp_path_factory.mktemp("weights") / "tiny.safetensors")


# Layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("i3d_inception", {}),
        ("lgd_p3d_r50", {}),
        ("eco_full", {}),
        ("two_stream_spatial_vggm", {}),
        ("lstm_inception", {"combine": "sum"}),
        ("lstm_inception", {"combine": "weighted"}),
        ("snippets_lstm", {"combine": "last"}),
        ("tsn_r18", {}),
        ("tsn_r18", {"consensus": "attention"}),
    ],
)
def test_logits_are_a_linear_function_of_what_the_head_sees(name: str, options: dict[str, str]) -> None:
    """test_models.py has the default build of every network."""
    torch.manual_seed(1)
    model = create_model(name, tiny=True, num_classes=3, **options).eval()
    if options.get("consensus") == "attention":
        torch.nn.init.normal_(model.get_parameter("consensus.attention.weight"))
    spec = model.spec
    clip_BCTHW = torch.rand(2, spec.channels, max(16, spec.num_frames), 64, 64)
    with torch.no_grad():
        feature_BD = FeatureNetwork(model, "head_input")(clip_BCTHW)
        weight_KD, bias_K = torch.randn(4, feature_BD.shape[1]), torch.randn(4)
        write_head(model, weight_KD, bias_K, ("a", "b", "c", "d"))
        logits_BK = model(clip_BCTHW)
    assert model.class_names == ("a", "b", "c", "d")
    torch.testing.assert_close(feature_BD @ weight_KD.T + bias_K, logits_BK, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("snippets_lstm", {"combine": "max"}),
        ("lstm_inception", {"combine": "max"}),
        ("tsn_r18", {"consensus": "max"}),
        ("tsn_r18", {"consensus": "top_k"}),
        ("tsn_r18", {"consensus": "weighted"}),
    ],
)
def test_what_chooses_among_scores_has_no_head_input(name: str, options: dict[str, str]) -> None:
    """The largest of several scores is of no one vector; learned weights scale the biases, too."""
    model = create_model(name, tiny=True, num_classes=3, **options).eval()
    with pytest.raises(ValueError, match=r"tiny.*several positions.*no head_input; take another layer"):
        FeatureNetwork(model, "head_input")
    layers = list_layers(model)
    assert list(layers)[:2] == ["pool", "map"]
    assert "head_input" not in layers
    assert layers["pool"] is not None


def test_a_head_of_another_size_is_refused(network: VideoModel) -> None:
    with pytest.raises(ValueError, match="features"):
        write_head(create_model("r3d_18", tiny=True), torch.zeros(2, 3), torch.zeros(2), ("a", "b"))


def test_layers_by_name(network: VideoModel) -> None:
    clip_BCTHW = torch.rand(2, 3, 4, 32, 32)
    layers = list_layers(network)
    assert list(layers)[:3] == ["pool", "map", "head_input"]
    with torch.no_grad():
        whole = network.forward_features(clip_BCTHW)
        for layer, shape in layers.items():
            if layer in ("map", "head"):
                continue
            got = FeatureNetwork(network, layer)(clip_BCTHW)
            assert got.shape == (2, shape[0]), layer
        assert torch.equal(FeatureNetwork(network, "map")(clip_BCTHW), whole)
        assert torch.allclose(FeatureNetwork(network, "pool")(clip_BCTHW), whole.mean((2, 3, 4)), atol=1e-6)
        assert FeatureNetwork(network, "conv1:map")(clip_BCTHW).ndim == 5
        assert torch.equal(FeatureNetwork(network, "head")(clip_BCTHW), network(clip_BCTHW))
    assert layers["map"] == tuple(whole.shape[1:])
    with pytest.raises(ValueError, match=r"stage9.*did you mean"):
        FeatureNetwork(network, "stage9")


def test_what_lies_beyond_the_layer_is_not_computed(network: VideoModel) -> None:
    heard = []
    handle = network.get_submodule("head").register_forward_hook(lambda *_: heard.append(1))
    try:
        FeatureNetwork(network, "conv1")(torch.rand(1, 3, 4, 32, 32))
    finally:
        handle.remove()
    assert heard == []


def test_positions_are_averaged_whatever_the_axes() -> None:
    maps = torch.rand(2, 5, 3, 4, 4)
    assert torch.allclose(average_positions(maps, 2), maps.mean((2, 3, 4)))
    planes = torch.rand(6, 5, 4, 4)  # three frames of two clips
    assert torch.allclose(average_positions(planes, 2), planes.reshape(2, 3, 5, 16).mean((1, 3)))
    tokens = torch.rand(2, 7, 5)
    assert torch.allclose(average_positions(tokens, 2), tokens.mean(1))
    with pytest.raises(ValueError, match="2 clips"):
        average_positions(torch.rand(3, 5), 2)


# Datasets ----------------------------------------------------------------------------------------------


def test_features_are_those_of_the_plain_network(network: VideoModel, few: Dataset) -> None:
    found = extract_features(network, few, protocol="2x3")
    assert found.features_NVD.shape == (6, 6, network.get_submodule("head").weight.shape[1])
    assert found.seconds_NV2.shape == (6, 6, 2)
    np.testing.assert_allclose(found.seconds_NV2[0, 0], [0, 4 / 25], atol=1e-6)
    np.testing.assert_allclose(found.seconds_NV2[0, -1], [2 / 25, 6 / 25], atol=1e-6)
    extractor = Extractor(network)
    item = features._read(few.examples[2], few.root, network.spec, parse_views("2x3"), None, "", Reading())
    pixels = item.pixels_VTCHW
    assert pixels is not None
    clip = (pixels.float() / 255).transpose(1, 2)
    mean, std = (torch.tensor(x)[:, None, None, None] for x in (network.spec.mean, network.spec.std))
    with torch.no_grad():
        plain = network.forward_features((clip - mean) / std).mean((2, 3, 4))
    np.testing.assert_allclose(found.features_NVD[2], plain.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(extractor(pixels), found.features_NVD[2])
    assert found.labels == tuple(example.labels for example in few.examples)
    assert found.provenance["layer"] == "pool"


def test_nothing_is_computed_twice(
    network: VideoModel, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    call = Extractor.__call__

    def count(self: Extractor, pixels_VTCHW: torch.Tensor) -> np.ndarray:
        counts.append(1)
        return call(self, pixels_VTCHW)

    monkeypatch.setattr(Extractor, "__call__", count)
    first = extract_features(network, few, cache_folder=tmp_path)
    assert len(counts) == 6
    again = extract_features(network, few, cache_folder=tmp_path)
    assert len(counts) == 6
    np.testing.assert_array_equal(first.features_NVD, again.features_NVD)
    np.testing.assert_array_equal(first.seconds_NV2, again.seconds_NV2)
    extract_features(network, few, cache_folder=tmp_path, layer="head_input")
    assert len(counts) == 12
    extract_features(network, few, cache_folder=tmp_path, protocol="2x1")
    assert len(counts) == 18
    other = create_model("r3d_18", tiny=True, num_classes=5).eval()
    other.spec = network.spec
    extract_features(other, few, cache_folder=tmp_path)  # other weights
    assert len(counts) == 24
    extract_features(network, few, cache_folder=tmp_path, sees=lambda clip_BCTHW: clip_BCTHW)
    extract_features(network, few, cache_folder=tmp_path, sees=lambda clip_BCTHW: clip_BCTHW)
    assert len(counts) == 36  # what the caller's own function does cannot be told from its name


def test_a_copy_is_the_same_video(network: VideoModel, few: Dataset, tmp_path: Path) -> None:
    source = Path(few.root) / few.examples[0].video
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(source.read_bytes())
    assert content_hash(copy) == content_hash(source)
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_bytes(b"1")
    before = content_hash(tmp_path / "frames")
    (tmp_path / "frames" / "2.png").write_bytes(b"2")
    assert content_hash(tmp_path / "frames") != before


def test_the_order_of_frames_can_be_taken_away(network: VideoModel, few: Dataset) -> None:
    def still(clip_BCTHW: torch.Tensor) -> torch.Tensor:
        return clip_BCTHW[:, :, :1].expand_as(clip_BCTHW)

    plain = extract_features(network, few)
    frozen = extract_features(network, few, sees=still)
    assert not np.allclose(plain.features_NVD, frozen.features_NVD)
    np.testing.assert_array_equal(
        frozen.features_NVD, extract_features(network, few, sees=still).features_NVD
    )


def test_a_broken_file_has_no_features_and_a_reason(
    network: VideoModel, few: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    good = Path(few.root) / few.examples[0].video
    examples = (
        Example("bad.mp4", "bad", (0,)),
        Example(str(good), "good", (1,)),
        Example("no.mp4", "no", (1,)),
    )
    dataset = Dataset("mixed", str(tmp_path), "all", ("a", "b"), examples)
    found = extract_features(network, dataset, cache_folder=tmp_path / "cache")
    assert found.readable_N.tolist() == [False, True, False]
    assert np.isnan(found.features_NVD[[0, 2]]).all()
    assert np.isfinite(found.features_NVD[1]).all()
    assert found.failures[2].kind == "not_found"
    save_features(tmp_path / "x.npz", found)
    assert load_features(tmp_path / "x.npz").failures == found.failures


def test_files_keep_everything(network: VideoModel, few: Dataset, tmp_path: Path) -> None:
    found = extract_features(network, few)
    save_features(tmp_path / "a.npz", found)
    back = load_features(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.features_NVD, found.features_NVD)
    assert (back.ids, back.labels, back.videos) == (found.ids, found.labels, found.videos)
    assert back.class_names == found.class_names
    assert back.provenance["fingerprint"] == found.provenance["fingerprint"]
    several = replace(found, labels=((0, 2), (), *found.labels[2:]))
    save_features(tmp_path / "b.npz", several)
    assert load_features(tmp_path / "b.npz").labels == several.labels
    (tmp_path / "c.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"c\.npz"):
        load_features(tmp_path / "c.npz")
    with pytest.raises(ValueError, match="differ in number"):
        replace(found, ids=found.ids[:-1])


def test_views_are_spelled_out() -> None:
    assert parse_views("10x3") == Views(ClipRule("uniform", 10), "three")
    for wrong in ("3", "0x1", "2x2", "x", "1x1x1"):
        with pytest.raises(ValueError, match="CLIPSxCROPS"):
            parse_views(wrong)


# Videos ------------------------------------------------------------------------------------------------


def test_windows_cover_a_video_to_its_end(network: VideoModel, tmp_path: Path) -> None:
    write_numbered(tmp_path / "v.mp4", 11)
    rate = 25.0
    features_ND, seconds_N2 = extract_windows(network, tmp_path / "v.mp4", stride_seconds=2 / rate)
    assert len(features_ND) == len(seconds_N2) > 3
    steps = np.diff(seconds_N2[:-1, 0])
    np.testing.assert_allclose(steps, 2 / rate, atol=1e-6)
    whole, _ = extract_windows(network, tmp_path / "v.mp4")
    np.testing.assert_array_equal(whole[0], features_ND[0])
    with pytest.raises(VideoError):
        extract_windows(network, tmp_path / "missing.mp4")


def test_models_for_clips_of_another_shape(model_file: Path) -> None:
    model = open_model(model_file, num_frames=8, size=48)
    assert (model.spec.num_frames, model.spec.size, model.spec.crop) == (8, 48, 48)
    assert open_model(model_file, crop=40, size=48).spec.crop == 40
    with pytest.raises(ValueError, match="without weights"):
        open_model("r3d_18")
    with pytest.raises(ValueError, match="no such file"):
        open_model("nothing.safetensors")


# The command line --------------------------------------------------------------------------------------


def run(*words: str | Path) -> tuple[int, str]:
    """Exit code and standard output of a call."""
    result = RUNNER.invoke(app, ["extract", *map(str, words)])
    return result.exit_code, result.output


def test_extract_a_dataset(
    model_file: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VADIS_CACHE", str(tmp_path / "cache"))
    code, text = run(shapes, "--split", "test", "--model", model_file, "--out", tmp_path / "out", "--json")
    assert code == 0, text
    assert json.loads(text)["files"][0]["shape"][:2] == [25, 1]
    found = load_features(tmp_path / "out" / "test.npz")
    assert len(found) == 25
    assert found.class_names == read(shapes, "test").class_names
    assert any((tmp_path / "cache" / "features").rglob("*.safetensors"))
    code, text = run(shapes, "--model", model_file, "--out", tmp_path / "out")
    assert code == 2
    assert "name one" in text


def test_extract_videos_and_go_on(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, count in (("a", 9), ("b", 6)):
        write_numbered(folder / f"{name}.mp4", count)
    words = (folder, "--model", model_file, "--out", tmp_path / "out", "--stride-seconds", "0.1")
    code, text = run(*words)
    assert code == 0, text
    with np.load(tmp_path / "out" / "a.npz") as file:
        assert file["features"].shape[0] == file["seconds"].shape[0] > 1
        assert json.loads(str(file["provenance"]))["layer"] == "pool"
    kept = (tmp_path / "out" / "a.npz").stat().st_mtime_ns
    (folder / "c.mp4").write_bytes(b"broken" * 100)
    write_numbered(folder / "b.mp4", 8)
    code, text = run(*words)
    assert code == 1
    assert "c.mp4" in text
    assert (tmp_path / "out" / "a.npz").stat().st_mtime_ns == kept
    assert read_provenance(tmp_path / "out" / "b.npz")["content"] == content_hash(folder / "b.mp4")
    assert not (tmp_path / "out" / "c.npz").exists()
    code, text = run(*words, "--layer", "stage9")
    assert code == 2
    assert "did you mean" in text


def test_extract_says_what_does_not_fit(model_file: Path, shapes: Path, tmp_path: Path) -> None:
    out = ("--model", model_file, "--out", tmp_path)
    assert run(shapes, "--split", "test", "--stride-seconds", "1", *out)[0] == 2
    assert run(shapes / "test", "--each", "--protocol", "1x1", *out)[0] == 2
    assert run(shapes, tmp_path, "--split", "test", *out)[0] == 2


def test_list_layers(model_file: Path) -> None:
    code, text = run("--list-layers", "--model", model_file)
    assert code == 0
    assert text.splitlines()[0].split()[0] == "pool"
    code, text = run("--list-layers", "--model", "i3d_inception", "--json")
    assert json.loads(text)["layers"]["pool"] == [1024]


def test_a_file_that_cannot_be_kept_is_no_error(
    network: VideoModel, few: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    found = extract_features(network, few, cache_folder=tmp_path / "file")
    assert np.isfinite(found.features_NVD).all()
    assert "not kept" in caplog.text
    assert feature_store.FeatureCache(tmp_path / "file").get("ab") is None


def test_the_cache_outlives_a_torn_entry(network: VideoModel, few: Dataset, tmp_path: Path) -> None:
    first = extract_features(network, few, cache_folder=tmp_path)
    entries = sorted(tmp_path.rglob("*.safetensors"))
    assert len(entries) == 6
    for entry in entries[:3]:
        entry.write_bytes(entry.read_bytes()[:20])
    again = extract_features(network, few, cache_folder=tmp_path)
    np.testing.assert_array_equal(first.features_NVD, again.features_NVD)
    assert all(entry.stat().st_size > 20 for entry in entries)
    assert not list(tmp_path.rglob("*.part"))
