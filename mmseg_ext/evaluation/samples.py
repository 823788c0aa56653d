"""What metrics read from the samples of segmentors."""

from typing import Any

import torch

from mmseg_ext.evaluation.functional import single_map

__all__ = ['check_labeled', 'class_names', 'sample_map', 'sample_name']

#: The maps of a sample, and what to do where one has several channels.
_MAPS = {
    'pred_sem_seg': (
        'prediction',
        'of scores of all classes, such as logits, take the argmax',
    ),
    'gt_sem_seg': (
        'label',
        'a mask with several channels has to be saved as gray or palette PNG '
        'of class indices or, where its colors mean classes, loaded with '
        "dict(type='LoadColorMasks')",
    ),
}


def class_names(owner: str, dataset_meta: dict[str, Any] | None) -> list[str]:
    """Return the names of the classes.

    Args:
        owner: The metric, for the message.
        dataset_meta: What it knows of the data set.

    Raises:
        ValueError: There are none.
    """
    names = list((dataset_meta or {}).get('classes') or ())
    if not names:
        raise ValueError(
            f'{owner}: the data set gives no classes; expected them in its '
            'metainfo'
        )
    return names


def sample_name(sample: dict[str, Any]) -> str:
    """Return the file of an image, and that of its label where known."""
    label = sample.get('seg_map_path')
    return f'{sample.get("img_path")}' + (f' (label {label})' if label else '')


def check_labeled(sample: dict[str, Any]) -> None:
    """Check that a sample has a label.

    Raises:
        ValueError: It has none.
    """
    if 'gt_sem_seg' not in sample:
        raise ValueError(
            f'{sample_name(sample)}: no label to compare with; add '
            "dict(type='LoadAnnotations') to the test pipeline and labels to "
            'the data set'
        )


def sample_map(sample: dict[str, Any], key: str) -> torch.Tensor:
    """Return the label or the prediction of a sample.

    Args:
        sample: As mmengine's evaluator hands it over.
        key: ``'gt_sem_seg'`` or ``'pred_sem_seg'``.

    Returns:
        (H, W).

    Raises:
        ValueError: It has several channels.
    """
    try:
        return single_map(sample[key]['data'])
    except ValueError as error:
        what, mend = _MAPS[key]
        raise ValueError(
            f'{sample_name(sample)}: the {what} has {error}; {mend}'
        ) from None
