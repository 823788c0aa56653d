"""Training and validation as a run has them."""

import shutil

import cv2
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from helpers.doctor import assert_only, plants
from mmseg_ext.doctor.findings import Level
from mmseg_ext.doctor.validation_step import try_validation
from test_doctor.test_checks_models import add, assert_mended, changes


@plants('run-parts')
def test_a_validation_without_scores(street):
    add(street, 'del val_evaluator')
    found = assert_only(street.examine(), 'run-parts', split='val')
    assert 'no val_evaluator' in found[0].text
    assert_mended(street, found)


def test_a_training_without_optimizer(shapes):
    add(shapes, 'del optim_wrapper')
    assert_only(shapes.examine(), 'run-parts', split='train')


@plants('epoch-without-end')
def test_an_epoch_without_end(street):
    street.change(
        "type='IterBasedTrainLoop', max_iters=2, val_interval=2",
        "type='EpochBasedTrainLoop', max_epochs=2",
    )
    found = assert_only(street.examine(), 'epoch-without-end', split='train')
    assert_mended(street, found)


@plants('val-interval')
def test_a_validation_that_comes_late(street):
    street.change('val_interval=2', 'val_interval=1000')
    [found] = assert_only(street.examine(), 'val-interval')
    assert found.level == Level.NOTE
    assert_mended(street, [found], Level.NOTE)
    street.change('val_interval=1000', 'val_begin=3')
    [found] = assert_only(street.examine(), 'val-interval')
    assert found.level == Level.WARNING
    assert 'never validated' in found.text


@plants('schedule-length')
@pytest.mark.parametrize(
    ('options', 'change'),
    [
        ('end=1000, by_epoch=False', {'param_scheduler.0.end': 2}),
        ('end=2', {'param_scheduler.0.by_epoch': False}),
    ],
    ids=['length', 'epochs'],
)
def test_another_schedule(street, options, change):
    add(street, f"param_scheduler = [dict(type='PolyLR', {options})]")
    found = assert_only(street.examine(), 'schedule-length', split='train')
    assert changes(found) == change
    assert_mended(street, found)


@plants('evaluator-file')
def test_the_file_of_another_split(shapes):
    other = shapes.root / 'train.json'
    shapes.change(f"ann_file='{shapes.root}/val.json'", f"ann_file='{other}'")
    [found] = assert_only(
        shapes.examine(), 'evaluator-file', other, split='val'
    )
    own = str(shapes.root / 'val.json')
    # The test is the same.
    assert found.change == {
        'val_evaluator.ann_file': own,
        'test_evaluator.ann_file': own,
    }
    assert_mended(shapes, [found])


def test_a_copy_of_the_file_is_fine(shapes):
    other = shapes.root / 'copy.json'
    shutil.copyfile(shapes.root / 'val.json', other)
    shapes.change(f"ann_file='{shapes.root}/val.json'", f"ann_file='{other}'")
    codes = {f.code for f in shapes.examine().findings}
    assert 'evaluator-file' not in codes


@plants('validation-fails')
def test_no_such_score_in_the_metric(street):
    street.change("iou_metrics=['mIoU']", "iou_metrics=['mIOU']")
    [found] = assert_only(street.examine(), 'validation-fails', split='val')
    assert "metrics ['mIOU'] is not supported" in found.text


def test_scores_of_masks_without_masks(shapes):
    add(
        shapes,
        "model['type'] = 'FasterRCNN'",
        "for key in ('mask_roi_extractor', 'mask_head'):",
        "    del model['roi_head'][key]",
    )
    found = assert_only(shapes.examine(), 'validation-fails', split='val')
    assert 'segm is not in results' in found[0].text
    assert found[0].change == {
        'val_evaluator.metric': ['bbox'],
        'test_evaluator.metric': ['bbox'],
    }
    assert_mended(shapes, found)


def test_a_file_that_is_not_there(shapes):
    shapes.change(f"'{shapes.root}/val.json', metric", "'none.json', metric")
    [found] = assert_only(shapes.examine(), 'validation-fails', split='val')
    assert 'none.json' in found.text


@plants('validation-score')
def test_ignored_labels_that_are_scored(street):
    for path in street.files('val_labels'):
        label = street.label(path)
        label[:6] = 255
        cv2.imwrite(str(path), label)
    street.change("type='IoUMetric',", "type='IoUMetric', ignore_index=254,")
    [found] = assert_only(street.examine(), 'validation-score', split='val')
    assert 'mIoU' in found.value
    assert found.text.endswith('; val_evaluator.ignore_index=254')
    assert_mended(street, [found])


@plants('save-best')
def test_the_best_by_no_score(street):
    add(
        street,
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook', "
        "interval=2, by_epoch=False, save_best='mIOU'))",
    )
    [found] = assert_only(street.examine(), 'save-best', split='val')
    assert "'mIOU' is none of the scores" in found.text
    assert 'aAcc, mIoU, mAcc; close: mIoU' in found.text
    assert_mended(street, [found])
    street.change("save_best='mIOU'", "save_best='mIoU'")
    assert 'save-best' not in {f.code for f in street.examine().findings}


def test_what_a_metric_writes_is_nowhere(street, tmp_path):
    """MMSeg's metrics make, and some empty, the folder that they name."""
    folder = tmp_path / 'predictions'
    street.change(
        "type='IoUMetric',", f"type='IoUMetric', output_dir='{folder}',"
    )
    diagnosis = street.examine()
    assert diagnosis.case.validation[0].scores['mIoU'] == 100
    assert not folder.exists()


@pytest.mark.parametrize('counts', ['', '1', 'PPYo0' * 1000, 'Ā'])
def test_broken_masks_crash_nothing(shapes, counts):
    """pycocotools trusts the runs of a mask, and takes the process along."""
    coco = shapes.coco('val')
    mask = {'size': [72, 96], 'counts': counts}
    coco['annotations'][0]['segmentation'] = mask
    shapes.write_coco('val', coco)
    cfg = Config.fromfile(shapes.config)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        step = try_validation(cfg, 'val', dataset)
    # The images without it are evaluated.
    assert (step.fault, step.samples, step.low) == (None, 2, {})
