"""Instances of images, as data sets of MMDet load them."""

from typing import Any, NamedTuple

from mmseg_ext.doctor.parts import Part

__all__ = ['Instance', 'instances_of']


class Instance(NamedTuple):
    """An instance of an image.

    Attributes:
        label: Number of its class.
        box: Left, top, width and height, in pixels.
        mask: Polygons or RLE, as COCO has them; None without one.
    """

    label: int
    box: tuple[float, float, float, float]
    mask: Any = None


def instances_of(part: Part, position: int) -> list[Instance]:
    """Return the instances of an image, without those to ignore.

    Args:
        part: A data set of MMDet, built.
        position: Number of the image.

    Returns:
        Empty where the data set, which may be the user's own, keeps nothing
        of the kind.
    """
    try:
        instances = part.dataset.get_data_info(position)['instances']
        found = []
        for each in instances:
            left, top, right, bottom = map(float, each['bbox'])
            box = left, top, right - left, bottom - top
            if not each.get('ignore_flag'):
                label = int(each['bbox_label'])
                found.append(Instance(label, box, each.get('mask')))
    except Exception:
        return []
    return found
