"""What happens in some videos, and when; the model is loaded once.

python examples/predict.py a.mp4 b.avi
"""

import sys

import vadis


def main(videos: list[str]) -> None:
    """Print the best label of each video, and its spans."""
    model = vadis.load("i3d_inception.k400")
    for video in videos:
        try:
            prediction = model.predict(video, top_k=3, threshold=0.5)
        except vadis.VideoError as error:
            print(error)
            continue
        best = prediction.labels[0]
        print(f"{video}: {best.class_name} ({best.score:.0%})")
        for span in prediction.spans:
            print(f"  {span.start_seconds:6.2f} to {span.end_seconds:6.2f} s  {span.class_name}")
        if not prediction.spans:
            print("  none of the known actions is sure enough; the line above is the best guess")
        if prediction.report is not None and not prediction.report.ok:
            print(f"  the file is damaged: {prediction.report}")


if __name__ == "__main__":
    main(sys.argv[1:])
