"""What the transforms that load labels have in common."""

import mmengine.fileio as fileio
import numpy as np

__all__ = ['put_label', 'read_label']


def read_label(results: dict, backend_args: dict | None) -> bytes:
    """Read the file ``seg_map_path`` of a sample.

    Raises:
        FileNotFoundError: There is no such label.
    """
    path = results['seg_map_path']
    try:
        return fileio.get(path, backend_args=backend_args)
    except FileNotFoundError:
        raise FileNotFoundError(
            f'label {path} of image {results.get("img_path")} is missing'
        ) from None


def put_label(results: dict, label: np.ndarray) -> None:
    """Add a label map to a sample, as ``gt_seg_map``.

    Args:
        results: The sample; if it has ``ori_shape``, the label must have
            that height and width.
        label: Array of (H, W), or (H, W, C).

    Raises:
        ValueError: The label is not of the size of its image.
    """
    expected = tuple(results.get('ori_shape', label.shape)[:2])
    if label.shape[:2] != expected:
        raise ValueError(
            f'label {results["seg_map_path"]} is '
            f'{label.shape[1]}x{label.shape[0]} pixels, its image '
            f'{results.get("img_path")} {expected[1]}x{expected[0]}; '
            'expected equal sizes'
        )
    results['gt_seg_map'] = label
    results['seg_fields'].append('gt_seg_map')
