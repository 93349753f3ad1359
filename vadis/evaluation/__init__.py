"""A network and a dataset in, a number one can trust out: protocol, scores, measures, and the card.

    model = create_model("r3d_18", "runs/1/best.safetensors")
    card = evaluate(model, open_dataset("ucf101", split="test1"), "10x3")

`protocols` says how a video becomes views, `views` scores them, `measures` counts, `cards` puts all of it
into an `EvaluationCard`, `page` shows one, `comparison` several, `calibration` makes scores honest.
"""

from vadis.evaluation.cards import evaluate, make_card, match_classes, read_card, write_card
from vadis.evaluation.measures import measure
from vadis.evaluation.protocols import PROTOCOLS, EvaluationProtocol, make_protocol
from vadis.evaluation.views import ScoredDataset, score_dataset

__all__ = [
    "PROTOCOLS",
    "EvaluationProtocol",
    "ScoredDataset",
    "evaluate",
    "make_card",
    "make_protocol",
    "match_classes",
    "measure",
    "read_card",
    "score_dataset",
    "write_card",
]
