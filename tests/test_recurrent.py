"""Answers at each step: the four ways by hand, and that the classifier may come before or after a mean."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from vadis.models.recurrent import Combine, check_combine, combine_steps, score_steps, step_gains


def test_four_ways_to_combine() -> None:
    steps = torch.tensor([[[4.0, 0.0], [1.0, 1.0], [0.0, 2.0]]])
    assert step_gains(steps).tolist() == [0.0, 0.5, 1.0]
    assert combine_steps(steps, "last").tolist() == [[0.0, 2.0]]
    assert combine_steps(steps, "max").tolist() == [[4.0, 2.0]]
    assert torch.allclose(combine_steps(steps, "sum"), torch.tensor([[5 / 3, 1.0]]))
    assert torch.allclose(combine_steps(steps, "weighted"), torch.tensor([[0.5 / 1.5, 2.5 / 1.5]]))


@pytest.mark.parametrize("combine", get_args(Combine))
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_what_is_scored_once_is_what_the_steps_score_together(combine: Combine, steps: int) -> None:
    torch.manual_seed(0)
    head, state_BTD = nn.Linear(6, 4), torch.randn(3, steps, 6)
    found, wanted = score_steps(head, state_BTD, combine), combine_steps(head(state_BTD), combine)
    torch.testing.assert_close(found, wanted)
    if steps == 1:
        torch.testing.assert_close(found, head(state_BTD)[:, 0])
    assert check_combine(combine) == combine


def test_there_is_no_other_way() -> None:
    with pytest.raises(ValueError, match="combine must be one of last, max, sum, weighted, got 'mean'"):
        check_combine("mean")  # type: ignore[arg-type]
