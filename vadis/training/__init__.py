"""Training: one visible loop (`loop`), and around it what it needs, each in a file of its own.

    result = train(dataset, recipe, Path("runs/1"), validation=other)
    model = create_model("r3d_18", result.best)

docs/training.md is the page about it.
"""

from vadis.training.loop import Moment, TrainingResult, train
from vadis.training.stops import TrainingError

__all__ = ["Moment", "TrainingError", "TrainingResult", "train"]
