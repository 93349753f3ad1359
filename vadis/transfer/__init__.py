"""What does pre-training bring? The same data learnt in several ways, from the same start, and compared.

    original    trained on the target alone, from random weights
    imagenet    the same, from an inflated image network
    fixed       the network as it is, and a new last layer (multinomial logistic regression)
    svm         the same with a linear support vector machine
    topK        the last K layers learn (top1: the last one alone)
    full        all of it is fine-tuned

`study` makes the plan and runs it, `modes` is one run of each kind, `vadis.linear` fits last layers,
`controls` take something away, `report` makes tables and curves.
"""
