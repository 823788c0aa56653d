"""All checks, in the order in which their findings are shown."""

from collections.abc import Iterable

from mmseg_ext.doctor.checks import (
    classes,
    coco,
    coco_boxes,
    coco_classes,
    coco_masks,
    data_sets,
    duplicates,
    entries,
    files,
    images,
    labels,
    models,
    normalization,
    pipelines,
    validation,
)
from mmseg_ext.doctor.findings import Check, Code, Level, codes_of

__all__ = ['CHECKS', 'FAILED', 'all_codes']

#: Each takes what was gathered. A plug-in appends its own to the list, or a
#: config names them: ``doctor_checks = ['package.module:function']``.
CHECKS: list[Check] = [
    entries.entries_are_configs,
    entries.classes_are_lists,
    data_sets.data_sets_are_built,
    data_sets.splits_hold_images,
    files.images_are_known,
    files.images_are_read,
    files.labels_have_images,
    files.sizes_are_equal,
    images.images_are_upright,
    images.forms_are_usual,
    labels.labels_hold_classes,
    classes.ignore_index_is_no_class,
    classes.labels_teach,
    classes.classes_are_there,
    classes.classes_are_balanced,
    duplicates.images_are_there_once,
    duplicates.images_are_in_one_split,
    duplicates.splits_have_no_copies,
    duplicates.labels_are_there_once,
    pipelines.pipelines_run,
    pipelines.pipelines_are_in_order,
    pipelines.pipelines_are_whole,
    pipelines.labels_stay_classes,
    pipelines.batches_can_be_stacked,
    pipelines.evaluation_is_not_random,
    pipelines.crops_are_filled,
    pipelines.crops_can_be_mixed,
    normalization.images_are_normalized,
    normalization.channels_have_their_order,
    coco.coco_files_are_readable,
    coco.coco_fields_are_there,
    coco.coco_sets_are_built,
    coco.coco_sets_hold_images,
    coco.coco_ids_are_unique,
    coco.coco_annotations_have_places,
    coco.coco_images_are_files,
    coco.coco_sizes_are_right,
    coco_classes.coco_classes_are_categories,
    coco_classes.coco_categories_are_unique,
    coco_classes.coco_categories_have_annotations,
    coco_boxes.coco_boxes_are_in_images,
    coco_boxes.coco_crowds_are_crowds,
    coco_boxes.coco_boxes_are_unique,
    coco_boxes.coco_objects_stay_visible,
    coco_masks.coco_masks_are_polygons,
    coco_masks.coco_masks_are_runs,
    coco_masks.coco_masks_fit_boxes,
    models.model_is_built,
    models.classes_are_the_same,
    models.heads_fit,
    models.single_outputs_work,
    models.losses_work,
    models.class_weights_fit,
    models.ignored_labels_agree,
    models.batch_norms_see_enough,
    models.sync_norms_have_gpus,
    models.transforms_fit,
    validation.runs_are_whole,
    validation.epochs_end,
    validation.validation_takes_place,
    validation.schedules_reach_the_end,
    validation.evaluator_reads_the_same_file,
    validation.validation_works,
    validation.best_score_is_there,
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
