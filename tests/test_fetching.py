"""Weights are fetched in view, once, and never for a file of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vadis import fetching
from vadis.models.weights import WEIGHTS, UnknownWeightsError

NAME = "i3d_inception.k400"


@pytest.fixture
def pulled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were pulled; the network is not touched."""
    names: list[str] = []

    def pull(name: str, **options: object) -> Path:
        names.append(name)
        return Path(f"{name}.safetensors")

    monkeypatch.setattr(fetching, "pull", pull)
    monkeypatch.setattr(fetching, "is_pulled", lambda name: name in names)
    return names


def test_weights_are_fetched_once_and_their_licence_is_shown(
    pulled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        fetching.fetch_if_missing(NAME)
    assert pulled == [NAME]
    shown = capsys.readouterr()
    assert WEIGHTS[NAME].licence in shown.err
    assert shown.out == ""


def test_files_and_unknown_names_are_not_fetched(pulled: list[str]) -> None:
    fetching.fetch_if_missing("mine.safetensors")
    assert pulled == []
    with pytest.raises(UnknownWeightsError, match="did you mean"):
        fetching.pull_in_view("i3d_inception.k4000")
    assert fetching.pull_in_view(NAME, quiet=True) == Path(f"{NAME}.safetensors")
