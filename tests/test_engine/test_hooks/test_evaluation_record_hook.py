import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine import DefaultScope
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.jobs import TORCHRUN, run_job
from mmseg_ext.engine.hooks.evaluation_record_hook import EvaluationRecordHook
from mmseg_ext.formats.run_records import (
    ANNOTATIONS,
    DETECTIONS,
    META,
    read_counts,
    read_maps,
    read_meta,
)
from test_tools.tiny_runs import (
    run_tool,
    write_detection,
    write_segmentation,
)

VALIDATED = """
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=train_dataloader['dataset'])
val_evaluator = test_evaluator
val_cfg = dict(type='ValLoop')
train_cfg['val_interval'] = 1
custom_hooks = [dict(type='EvaluationRecord')]
test_evaluator = [dict(type='IoU', classwise=True)]
"""


def folders(work):
    return {
        path.parent.name: path.parent
        for path in work.glob(f'*/records/*/{META}')
    }


@pytest.fixture(scope='module')
def segmentation(tmp_path_factory):
    """A training with two validations, and a test of what it trained."""
    root = tmp_path_factory.mktemp('seg')
    config = write_segmentation(root)
    config.write_text(config.read_text() + VALIDATED)
    work = root / 'work'
    run_tool('train', config, '--work-dir', work)
    checkpoint = work / 'iter_2.pth'
    scores = run_tool(
        'test', config, checkpoint, '--work-dir', root / 'tested'
    )
    return config, work, checkpoint, root / 'tested', scores


def test_validations(segmentation):
    config, work, _, _, _ = segmentation
    found = folders(work)
    assert found.keys() == {'val_iter_1', 'val_iter_2'}
    for iteration in (1, 2):
        folder = found[f'val_iter_{iteration}']
        meta = read_meta(folder)
        assert meta.split == 'val'
        assert meta.iteration == iteration
        assert meta.classes == ('sky', 'wall', 'road')
        assert meta.palette == ((0, 0, 255), (255, 0, 0), (0, 255, 0))
        assert meta.dataset == 'BaseSegDataset'
        assert Path(meta.config).name == config.name
        assert meta.checkpoint == str(work / f'iter_{iteration}.pth')
        assert (meta.checkpoint_hash, meta.work_dir) == ('', str(work))
        counts = read_counts(folder, meta)
        assert counts.names.tolist() == [
            f'images/seq{index // 2}/{index % 2}.png' for index in range(4)
        ]
        assert counts.matrix(3).sum() == 4 * 64 * 64
        assert (folder / 'maps').is_dir() == (iteration == 2)
    # What IoUMetric logged of the last one.
    lines = next(work.glob('*/vis_data/scalars.json')).read_text()
    logged = [json.loads(line) for line in lines.splitlines()]
    score = [line['seg/aAcc'] for line in logged if 'seg/aAcc' in line][-1]
    matrix = counts.matrix(3)
    assert 100 * np.trace(matrix) / matrix.sum() == pytest.approx(
        score, abs=0.006
    )


def test_tests(segmentation):
    config, _, checkpoint, tested, scores = segmentation
    found = folders(tested)
    assert found.keys() == {'test'}
    meta = read_meta(found['test'])
    assert (meta.split, meta.iteration, meta.images) == ('test', None, 4)
    assert meta.checkpoint == str(checkpoint)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert meta.checkpoint_hash == digest
    assert meta.data_root == str(config.parent)
    counts = read_counts(found['test'], meta)
    matrix = counts.matrix(3)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    for index, name in enumerate(meta.classes):
        expected = 100 * matrix[index, index] / union[index]
        assert scores[f'IoU.{name}'] == pytest.approx(expected, rel=1e-12)
    for index in range(4):
        name = counts.names[index].removeprefix('images/')
        label, prediction = read_maps(found['test'], index)
        assert label.shape == prediction.shape == (64, 64)
        read = cv2.imread(str(config.parent / 'labels' / name), -1)
        assert np.array_equal(label, read)
    assert (counts.brightness > 0).all()


def test_two_processes(segmentation, tmp_path):
    """They write what one does."""
    config, _, checkpoint, tested, _ = segmentation
    status, shown, _ = run_job(
        TORCHRUN,
        tmp_path,
        'test',
        *(config, checkpoint, '--work-dir', tmp_path),
        *('--launcher', 'pytorch'),
    )
    assert status == 0, shown
    found = folders(tmp_path)
    assert found.keys() == {'test'}
    alone, both = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob('*')
            if path.is_file() and path.name != META
        }
        for folder in (folders(tested)['test'], found['test'])
    )
    assert both == alone
    metas = [read_meta(f) for f in (folders(tested)['test'], found['test'])]
    assert metas[0].config_hash == metas[1].config_hash
    assert metas[0].checkpoint_hash == metas[1].checkpoint_hash


def test_config_hash(segmentation):
    _, work, _, tested, _ = segmentation
    hashes = {
        read_meta(folder).config_hash
        for folder in [*folders(work).values(), *folders(tested).values()]
    }
    (same,) = hashes  # though work dir and checkpoint differ
    assert len(same) == 64


def upstream_runner(config, work, **options):
    """Build a runner as MMSeg's own tools do."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({'work_dir': str(work), **options})
    cfg.experiment_name = str(work)
    return Runner.from_cfg(cfg)


def test_upstream_s_runner_with_probs(segmentation, tmp_path):
    config, _, checkpoint, tested, _ = segmentation
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = upstream_runner(
            config,
            tmp_path,
            load_from=str(checkpoint),
            **{
                'model.type': 'LeanEncoderDecoder',
                'custom_hooks': [dict(type='EvaluationRecord', probs=True)],
            },
        )
        runner.test()
        runner.test()
        runner.val()
    found = folders(tmp_path)
    assert found.keys() == {'test', 'test_2', 'val'}
    before = folders(tested)['test']
    for folder in found.values():
        meta = read_meta(folder)
        assert meta.probs
        counts = read_counts(folder, meta)
        assert counts.confidence[:, 0].sum() == 4 * 64 * 64
        assert counts.confidence[:, 2].sum() == np.trace(counts.matrix(3))
        expected = read_counts(before, read_meta(before))
        assert np.array_equal(counts.matrix(3), expected.matrix(3))
        assert (folder / 'maps' / '00003.png').is_file()
    assert read_meta(found['test']).config_hash != (
        read_meta(before).config_hash
    )


def test_own_metric_keeps_its_folder(segmentation, tmp_path):
    config, _, checkpoint, _, _ = segmentation
    own = tmp_path / 'own'
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = upstream_runner(
            config,
            tmp_path,
            load_from=str(checkpoint),
            test_evaluator=[
                dict(type='EvaluationRecord', out_dir=str(own)),
            ],
        )
        runner.test()
    assert folders(tmp_path) == {}
    meta = read_meta(own)
    assert meta.checkpoint == str(checkpoint)
    assert meta.dataset == 'BaseSegDataset'


def test_other_folder(segmentation, tmp_path):
    config, _, checkpoint, _, _ = segmentation
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = upstream_runner(
            config,
            tmp_path / 'work',
            load_from=str(checkpoint),
            custom_hooks=[
                dict(type='EvaluationRecord', out_dir=str(tmp_path / 'out'))
            ],
        )
        runner.test()
    assert read_meta(tmp_path / 'out' / 'test').images == 4


def test_detector(tmp_path):
    config = write_detection(tmp_path)
    config.write_text(
        config.read_text()
        + "custom_hooks = [dict(type='EvaluationRecord')]\n"
        + "test_evaluator['metric'] = 'bbox'\n"
        + 'val_dataloader, val_evaluator = test_dataloader, test_evaluator\n'
        + "val_cfg = dict(type='ValLoop')\n"
    )
    work = tmp_path / 'work'
    run_tool('train', config, '--work-dir', work)
    found = folders(work)
    # Three images, two in a batch.
    assert found.keys() == {'val_iter_2'}
    meta = read_meta(found['val_iter_2'])
    assert meta.task == 'instance'
    assert meta.checkpoint == str(work / 'epoch_1.pth')
    assert meta.classes == ('disc', 'square')
    truth = COCO(found['val_iter_2'] / ANNOTATIONS)
    assert [image['file_name'] for image in truth.imgs.values()] == [
        f'images/{index}.png' for index in range(3)
    ]
    scores = COCOeval(
        truth, truth.loadRes(str(found['val_iter_2'] / DETECTIONS)), 'bbox'
    )
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    lines = next(work.glob('*/vis_data/scalars.json')).read_text()
    logged = [json.loads(line) for line in lines.splitlines()]
    (score,) = (
        line['coco/bbox_mAP_50'] for line in logged if 'coco/bbox_mAP' in line
    )
    assert round(scores.stats[1], 3) == score


def test_data_without_a_coco_file(tmp_path, capsys):
    config = write_detection(tmp_path)
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = upstream_runner(
            config,
            tmp_path / 'work',
            custom_hooks=[dict(type='EvaluationRecord')],
        )
        runner.test_dataloader.dataset.ann_file = 'list.txt'
        runner.test()
    (line,) = (
        line
        for line in capsys.readouterr().out.splitlines()
        if 'WARNING - EvaluationRecord' in line
    )
    assert line.endswith(
        'EvaluationRecord: this run is not recorded: ValueError: CocoDataset '
        "has the annotation file 'list.txt'; expected a data set with one "
        'COCO file (.json), as CocoDataset'
    )
    assert folders(tmp_path / 'work') == {}


def test_maps_stay_until_others_are_there(segmentation, tmp_path):
    config, _, checkpoint, _, _ = segmentation
    work = tmp_path / 'work'
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = upstream_runner(config, work, load_from=str(checkpoint))
        (hook,) = (
            h for h in runner.hooks if isinstance(h, EvaluationRecordHook)
        )
        runner.val()
        (first,) = folders(work).values()
        metric = runner.val_evaluator.metrics[-1]
        metric.boundary_share = None  # the second one fails
        runner.val_loop.run()
        assert folders(work).keys() == {'val'}
        failed = first.with_name('val_2')
        assert hook.folder == failed
        assert not (failed / 'maps').exists()
        assert len(list((first / 'maps').iterdir())) == 4
        metric.boundary_share = 0.02
        runner.val_loop.run()
    assert folders(work).keys() == {'val', 'val_3'}
    assert not (first / 'maps').exists()
    assert (first.with_name('val_3') / 'maps').is_dir()


def test_strict(segmentation, tmp_path):
    config, _, checkpoint, _, _ = segmentation
    (tmp_path / 'file').touch()
    hook = dict(
        type='EvaluationRecord', out_dir=str(tmp_path / 'file'), strict=True
    )
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = upstream_runner(
            config,
            tmp_path / 'work',
            load_from=str(checkpoint),
            custom_hooks=[hook],
        )
        with pytest.raises(OSError, match='file/test'):
            runner.test()
        hook['strict'] = False
        runner = upstream_runner(
            config,
            tmp_path / 'forgiving',
            load_from=str(checkpoint),
            custom_hooks=[hook],
        )
        assert runner.test()['aAcc'] > 0


def test_registration():
    hook = HOOKS.build({'type': 'EvaluationRecord', 'probs': True})
    assert isinstance(hook, EvaluationRecordHook)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('probs', 1),
        ('strict', None),
        ('boundary_share', 0),
        ('out_dir', 5),
        ('out_dir', ''),
    ],
)
def test_wrong_arguments(argument, value):
    with pytest.raises(ValueError, match=f'{argument}={value!r}: expected'):
        EvaluationRecordHook(**{argument: value})
