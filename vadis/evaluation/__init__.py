"""A network and a dataset in, a number one can trust out: protocol, scores, measures, and the card.

    model = create_model("r3d_18", "runs/1/best.safetensors")
    card = evaluate(model, open_dataset("ucf101", split="test1"), "10x3")

`protocols` says how a video becomes views, `views` scores them, `measures` counts, `cards` puts all of it
into an `EvaluationCard`, `page` shows one, `comparison` several, `calibration` makes scores honest.
"""
