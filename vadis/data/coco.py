"""COCO 2017: boxes, masks and keypoints in pictures, for the detectors that find persons in videos.

Lin et al. 2014 (arXiv:1405.0312). `annotations/instances_{train,val}2017.json`:

    {"images": [{"id": 397133, "file_name": "000000397133.jpg", "height": 427, "width": 640}],
     "annotations": [{"id": 1768, "image_id": 397133, "category_id": 44, "bbox": [x, y, width, height],
                      "area": 702.1, "iscrowd": 0, "segmentation": [[x, y, x, y, ...]]}],
     "categories": [{"id": 44, "name": "bottle", "supercategory": "kitchen"}]}

and `person_keypoints_{train,val}2017.json`, the persons again with 17 x (x, y, visibility). Traps: the 80
categories have ids 1..90 with gaps, the label is the place among the sorted ids; boxes are x, y, width and
height in pixels (here sides in [0, 1]); a crowd's mask is run lengths, column by column; many persons have no
keypoints; pictures without any annotation are examples, too. An example is a picture, its labels are those of
its boxes.

Pictures: `train2017/<file name>`, `val2017/<file name>`, also below `images/`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vadis.data.files import find_annotation, need_annotation
from vadis.data.made import HEIGHT, WIDTH, draw_clip, seed_of, write_text
from vadis.data.rows import Notes, read_json, to_float, to_int
from vadis.records import Box, DataError, Dataset, Example

SPLITS = ("train", "val")
NUM_CLASSES = 80
INSTANCES, KEYPOINTS = "instances_{split}2017.json", "person_keypoints_{split}2017.json"


def decode_runs(text: str) -> tuple[int, ...]:
    """Run lengths from COCO's text form: 5 bits a letter from '0' on, each third run on as a difference."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value = shift = 0
        more = True
        while more:
            if place >= len(text):
                raise ValueError("the run lengths break off")
            bits = ord(text[place]) - 48
            value |= (bits & 31) << shift
            more, place, shift = bool(bits & 32), place + 1, shift + 5
            if not more and bits & 16:
                value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return tuple(runs)


def _read_parts(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    document = read_json(path)
    parts = [
        document.get(key) if isinstance(document, dict) else None
        for key in ("images", "annotations", "categories")
    ]
    if not all(isinstance(part, list) and all(isinstance(item, dict) for item in part) for part in parts):
        raise DataError(f"{path}: expected lists of images, annotations and categories")
    images, annotations, categories = parts
    return images or [], annotations or [], categories or []


def _make_box(
    annotation: dict[str, Any],
    where: str,
    label: int,
    width: int,
    height: int,
    points: list[float],
    masks: bool,
) -> Box:
    x, y, box_width, box_height = (to_float(side, where, "a side of the box") for side in annotation["bbox"])
    outline: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()
    segmentation = annotation.get("segmentation")
    if masks and isinstance(segmentation, list):
        size = (width, height)
        outline = tuple(tuple(v / size[i % 2] for i, v in enumerate(polygon)) for polygon in segmentation)
    elif masks and isinstance(segmentation, dict):
        counts = segmentation["counts"]
        runs = decode_runs(counts) if isinstance(counts, str) else tuple(int(count) for count in counts)
    triples = zip(points[0::3], points[1::3], points[2::3], strict=True)
    keypoints = tuple((px / width, py / height, int(seen)) for px, py, seen in triples)
    return Box(
        x / width,
        y / height,
        (x + box_width) / width,
        (y + box_height) / height,
        (label,),
        crowd=bool(annotation.get("iscrowd", 0)),
        keypoints=keypoints if any(seen for _, _, seen in keypoints) else (),
        outline=outline,
        runs=runs,
    )


def read(
    root: str | os.PathLike[str],
    split: str,
    *,
    masks: bool = False,
    videos: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Read a split, "train" or "val". Keypoints are read where their file lies beside.

    masks: read them, too (the training set's take more than a gigabyte of memory). Raises DataError.
    """
    root, notes = Path(root), Notes()
    path = find_annotation(root, [INSTANCES.format(split=split)])
    points_path = find_annotation(root, [KEYPOINTS.format(split=split)])
    if path is None and points_path is None:
        need_annotation(root, [INSTANCES.format(split=split)])
    first = path or points_path
    images, annotations, categories = _read_parts(first) if first else ([], [], [])
    points: dict[object, list[float]] = {}
    if points_path:
        points = {item.get("id"): item.get("keypoints", []) for item in _read_parts(points_path)[1]}
    numbered = sorted((to_int(item.get("id"), first, "a category's id"), item) for item in categories)
    class_names = tuple(str(item.get("name")) for _, item in numbered)
    label_of = {number: label for label, (number, _) in enumerate(numbered)}
    if path and len(class_names) != NUM_CLASSES:
        notes.add(f"the file has {len(class_names)} categories, not {NUM_CLASSES}", path)
    boxes: dict[object, list[Box]] = {image.get("id"): [] for image in images}
    sizes = {image.get("id"): (image.get("width"), image.get("height")) for image in images}
    for annotation in annotations:
        where = f"{first}: annotation {annotation.get('id')}"
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if image not in boxes or category not in label_of:
            raise DataError(f"{where} is of an unknown image or category")
        try:
            width, height = (to_int(side, where, "the picture's size") for side in sizes[image])
            found = points.get(annotation.get("id"), [])
            box = _make_box(annotation, where, label_of[category], width, height, found, masks)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where} is not of COCO's form ({error})") from error
        if box.x1 >= box.x2 or box.y1 >= box.y2:
            notes.add("a box is empty: kept as it is", where)
        boxes[image].append(box)
    media_root = Path(videos or root)
    folder = next(
        (name for name in (f"{split}2017", f"images/{split}2017") if (media_root / name).is_dir()),
        f"{split}2017",
    )
    examples = []
    for image in images:
        if not isinstance(image.get("file_name"), str):
            raise DataError(f"{first}: image {image.get('id')} has no file_name")
        mine = tuple(boxes[image["id"]])
        labels = tuple(sorted({label for box in mine for label in box.labels}))
        stem = Path(image["file_name"]).stem
        examples.append(
            Example(f"{folder}/{image['file_name']}", str(image["id"]), labels, group=stem, boxes=mine)
        )
    groups: dict[str, list[int]] = {}
    for label, (_, item) in enumerate(numbered):
        groups.setdefault(str(item.get("supercategory", "")), []).append(label)
    return Dataset(
        "coco",
        str(media_root),
        split,
        class_names,
        tuple(examples),
        multi_label=True,
        class_groups={group: tuple(labels) for group, labels in groups.items() if group},
        notes=notes.all(),
    )


def recognise(root: Path) -> str:
    """What speaks for COCO under a root; "" where nothing does."""
    names = [name.format(split=split) for split in SPLITS for name in (INSTANCES, KEYPOINTS)]
    return " and ".join(name for name in names if find_annotation(root, [name]))


def write_tiny(root: Path) -> None:
    """Write a tiny COCO: pictures of one shape, one without any; boxes, outlines, a crowd, keypoints."""
    categories = [
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 44, "name": "bottle", "supercategory": "kitchen"},
    ]
    for split, num_images in (("train", 6), ("val", 4)):
        images, annotations, persons = [], [], []
        (root / f"{split}2017").mkdir(parents=True, exist_ok=True)
        for number in range(num_images):
            image_id, label = 397133 + seed_of(split, number), number % 2
            name = f"{image_id:012d}.jpg"
            clip = draw_clip(label, seed_of(split, number), 1)
            Image.fromarray(clip.frames_THWC[0]).save(root / f"{split}2017" / name)
            images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
            if number == 3:
                continue  # a picture without annotation
            x1, y1, x2, y2 = np.round(clip.box_T4[0], 2).tolist()
            box = [x1, y1, x2 - x1, y2 - y1]
            annotation = {"id": 100 + number, "image_id": image_id, "bbox": box, "area": box[2] * box[3]}
            annotation |= {"category_id": categories[label]["id"], "iscrowd": int(number == 2)}
            is_crowd = number == 2
            runs = {"size": [HEIGHT, WIDTH], "counts": [10, 5, HEIGHT * WIDTH - 15]}
            outline = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            annotations.append({**annotation, "segmentation": runs if is_crowd else outline})
            if label == 0:
                centre = [(x1 + x2) / 2, (y1 + y2) / 2, 2]
                keypoints = [0] * 51 if is_crowd else centre + [0] * 48
                persons.append(
                    {**annotations[-1], "keypoints": keypoints, "num_keypoints": int(not is_crowd)}
                )
        document = {"images": images, "annotations": annotations, "categories": categories}
        write_text(root / "annotations" / INSTANCES.format(split=split), json.dumps(document))
        document = {"images": images, "annotations": persons, "categories": categories[:1]}
        write_text(root / "annotations" / KEYPOINTS.format(split=split), json.dumps(document))
