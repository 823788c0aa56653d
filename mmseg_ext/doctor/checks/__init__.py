"""All checks, in the order in which their findings are shown."""

from collections.abc import Iterable

from mmseg_ext.doctor.checks import (
    coco,
    coco_boxes,
    coco_classes,
    coco_masks,
    data_sets,
)
from mmseg_ext.doctor.findings import Check, Code, Level, codes_of

__all__ = ['CHECKS', 'FAILED', 'all_codes']

#: Each takes what was gathered. A plug-in appends its own to the list, or a
#: config names them: ``doctor_checks = ['package.module:function']``.
CHECKS: list[Check] = [
    data_sets.data_sets_are_built,
    data_sets.splits_hold_images,
    coco.coco_files_are_readable,
    coco.coco_fields_are_there,
    coco.coco_sets_are_built,
    coco_classes.coco_classes_are_categories,
    coco.coco_sets_hold_images,
    coco.coco_ids_are_unique,
    coco.coco_annotations_have_places,
    coco_classes.coco_categories_are_unique,
    coco_classes.coco_categories_have_annotations,
    coco.coco_images_are_files,
    coco.coco_sizes_are_right,
    coco_boxes.coco_boxes_are_in_images,
    coco_boxes.coco_crowds_are_crowds,
    coco_boxes.coco_boxes_are_unique,
    coco_boxes.coco_objects_stay_visible,
    coco_masks.coco_masks_are_polygons,
    coco_masks.coco_masks_are_runs,
    coco_masks.coco_masks_fit_boxes,
]

#: Of a check itself.
FAILED = Code(
    'check-failed',
    Level.WARNING,
    'what this check looks for stays unknown',
    'report it with the text, or leave it out by --ignore check-failed',
)


def all_codes(checks: Iterable[Check] = CHECKS) -> dict[str, Code]:
    """Return all codes by name, in the order of the checks.

    Args:
        checks: The checks.
    """
    codes = [code for function in checks for code in codes_of(function)]
    return {code.name: code for code in [*codes, FAILED]}
