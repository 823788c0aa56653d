"""What a detector found in each image, for reports and comparisons."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from mmdet.registry import METRICS
from pycocotools import mask as coco_mask

from mmseg_ext.evaluation.metrics.run_record import RunRecord, image_names
from mmseg_ext.formats.coco import CocoTraining
from mmseg_ext.formats.json_files import decode_json
from mmseg_ext.formats.run_records import ANNOTATIONS, DETECTIONS
from mmseg_ext.utils.arguments import require
from mmseg_ext.utils.files import read_file, write_bytes

__all__ = ['InstanceRecord']

#: Fields of an annotation that scores depend on, beside ids.
_FIELDS = ('bbox', 'area', 'iscrowd', 'ignore', 'segmentation')


@dataclass(frozen=True)
class _Image:
    """What is kept of an image until all are there.

    Attributes:
        path: Its file.
        key: Its id in the annotation file.
        size: Height and width.
        brightness: 0 to 255, or NaN.
        found: A row of COCO's results for each instance, without image.
    """

    path: str
    key: int | str
    size: tuple[int, int]
    brightness: float
    found: list[dict[str, Any]]


@METRICS.register_module(name='EvaluationRecord')
class InstanceRecord(RunRecord):
    """Detections and labels of each image, in a run directory.

    It is a metric beside others, and has no scores of its own: what it leaves
    behind is what ``mmseg-ext report --from`` and ``mmseg-ext compare`` read.
    MMDet's configs name it ``EvaluationRecord``. The hook of that name adds it
    to a run's evaluators, with a folder of its own for each validation.

    ``annotations.json`` and ``detections.json`` are COCO's. Images have the
    ids 1, 2, ... in the order of the data set; an image also has its ``path``
    and, where it is known, its ``brightness``. Categories have the ids 1, 2,
    ... in the order of the COCO file, which is that of a detector's labels
    whatever the order of its classes. So pycocotools scores the two as MMDet's
    ``CocoMetric`` does.

    Args:
        out_dir: The run directory; what an evaluation before left there is
            replaced.
        ann_file: The COCO file of the data set, as ``CocoMetric`` has it.
        data_root: Folder of the data set: images in it are named relative to
            it. By default, and where images lie elsewhere, their common
            folder takes its place.
        strict: Whether what cannot be recorded is an error. By default it is,
            else it is a warning in the log, and the run goes on.

    Raises:
        ValueError: An argument is of another type.
    """

    task = 'instance'

    def __init__(
        self,
        out_dir: str | os.PathLike[str],
        ann_file: str,
        data_root: str = '',
        strict: bool = True,
    ) -> None:
        super().__init__(out_dir, data_root, strict)
        require(
            'ann_file',
            ann_file,
            bool(ann_file) and isinstance(ann_file, str),
            'the COCO file of the data set',
        )
        self.ann_file = os.path.expanduser(ann_file)

    def _count(
        self, sample: dict[str, Any], index: int, brightness: float
    ) -> _Image:
        """Keep what was found in an image."""
        found = sample['pred_instances']
        boxes = found['bboxes'].cpu().numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
        rows = [
            {'category_id': label + 1, 'bbox': box, 'score': score}
            for label, box, score in zip(
                found['labels'].tolist(),
                boxes.tolist(),
                found['scores'].tolist(),
                strict=True,
            )
        ]
        if 'masks' in found:
            for row, code in zip(rows, _codes(found['masks']), strict=True):
                row['segmentation'] = code
        height, width = sample['ori_shape'][:2]
        return _Image(
            sample['img_path'],
            sample['img_id'],
            (int(height), int(width)),
            brightness,
            rows,
        )

    def _write(self, results: list[_Image]) -> dict[str, Any]:
        """Write detections and annotations."""
        root, paths, names = image_names(
            [each.path for each in results], self._known['data_root']
        )
        classes, labels = _read_labels(self.ann_file, self._classes())
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        detections: list[dict[str, Any]] = []
        for place, (each, path, name) in enumerate(
            zip(results, paths, names, strict=True)
        ):
            image: dict[str, Any] = {
                'id': place + 1,
                'file_name': name,
                'height': each.size[0],
                'width': each.size[1],
                'path': path,
            }
            if each.brightness == each.brightness:  # JSON has no NaN
                image['brightness'] = each.brightness
            images.append(image)
            annotations += [
                {'id': len(annotations) + n, 'image_id': place + 1, **row}
                for n, row in enumerate(labels[each.key], 1)
            ]
            detections += [{'image_id': place + 1, **r} for r in each.found]
        categories = [
            {'id': index, 'name': name}
            for index, name in enumerate(classes, 1)
        ]
        _write_json(
            self.out_dir / ANNOTATIONS,
            {
                'images': images,
                'annotations': annotations,
                'categories': categories,
            },
        )
        _write_json(self.out_dir / DETECTIONS, detections)
        return {'data_root': root, 'classes': classes}


def _codes(masks: torch.Tensor | list[Any]) -> list[dict[str, Any]]:
    """Return masks in COCO's code.

    Args:
        masks: (N, H, W), or what pycocotools encodes of each.
    """
    if isinstance(masks, torch.Tensor):
        pixels = masks.detach().cpu().numpy().astype(np.uint8)
        masks = [coco_mask.encode(np.asfortranarray(each)) for each in pixels]
    return [
        {'size': list(code['size']), 'counts': _text(code['counts'])}
        for code in masks
    ]


def _text(counts: bytes | str) -> str:
    return counts.decode('ascii') if isinstance(counts, bytes) else counts


def _read_labels(
    path: str, classes: list[str]
) -> tuple[list[str], dict[int | str, list[dict[str, Any]]]]:
    """Read the annotations of some classes.

    Args:
        path: The COCO file.
        classes: Those of the data set.

    Returns:
        The classes in the order of the file, which is what MMDet numbers them
        in, and the annotations of each image by its id.

    Raises:
        ValueError: The file is no COCO file.
        OSError: It is not there, or cannot be read.
    """
    data = read_file(path, None)
    try:
        coco = decode_json(data, CocoTraining)
        rows = decode_json(data, dict).get('annotations', [])
    except ValueError as error:
        raise ValueError(f'ann_file {path} is no COCO file: {error}') from None
    used = [each for each in coco.categories if each.name in classes]
    numbers = {category.id: index for index, category in enumerate(used, 1)}
    names = [category.name for category in used]
    names += [name for name in classes if name not in names]
    labels = defaultdict(list)
    for row in rows:
        if row['category_id'] in numbers:
            kept = {key: row[key] for key in _FIELDS if key in row}
            number = numbers[row['category_id']]
            labels[row['image_id']].append({'category_id': number, **kept})
    return names, labels


def _write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    write_bytes(path, msgspec.json.encode(value) + b'\n')
