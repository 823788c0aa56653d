import json
import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
import torch
from mmengine import DefaultScope
from mmengine.config import Config
from mmengine.registry import MODELS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.command_lines import error_of
from test_tools.tiny_runs import (
    TOOLS,
    run_tool,
    write_detection,
    write_segmentation,
)

#: What :func:`write_segmentation` writes.
NAMES = ['seq0/0.png', 'seq0/1.png', 'seq1/0.png', 'seq1/1.png']
METRICS = ['mIoU', 'mDice', 'mPrecision', 'mRecall', 'FWIoU']


OPTION_OF_NONE = ['test_evaluator.class_wise=True']


def _with_checkpoint(config, rough=False):
    """Save untrained weights of a config's model.

    With ``rough`` they are large enough for predictions of several classes.
    """
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    for weight in model.parameters():
        if rough and weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight)
    path = config.with_suffix('.pth')
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return config, path


@pytest.fixture(scope='module')
def segmentation(tmp_path_factory):
    root = tmp_path_factory.mktemp('seg')
    return _with_checkpoint(write_segmentation(root), rough=True)


@pytest.fixture(scope='module')
def detection(tmp_path_factory):
    return _with_checkpoint(write_detection(tmp_path_factory.mktemp('det')))


def _naive_scores(predictions, labels):
    """Scores in percent; means over the classes that have them."""
    predictions, labels = np.stack(predictions), np.stack(labels)
    iou, dice, precision, recall, weighted = [], [], [], [], 0
    for index in range(3):
        mine, truth = predictions == index, labels == index
        both, either = (mine & truth).sum(), (mine | truth).sum()
        if either:
            iou.append(100 * both / either)
            dice.append(200 * both / (mine.sum() + truth.sum()))
            weighted += iou[-1] * truth.mean()
        if mine.any():
            precision.append(100 * both / mine.sum())
        if truth.any():
            recall.append(100 * both / truth.sum())
    return {
        'aAcc': 100 * (predictions == labels).mean(),
        'mIoU': np.mean(iou),
        'mAcc': np.mean(recall),
        'mDice': np.mean(dice),
        'mPrecision': np.mean(precision),
        'mRecall': np.mean(recall),
        'FWIoU': weighted,
    }


def test_segmentor(segmentation, tmp_path, capsys):
    config, checkpoint = segmentation
    out, pictures = tmp_path / 'out', tmp_path / 'pictures'
    scores = run_tool(
        'test',
        config,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--eval',
        *METRICS,
        '--out',
        out,
        '--show-dir',
        pictures,
        '--cfg-options',  # a test needs no images of the training
        'train_dataloader.dataset.data_root=gone',
        # Its hook asks for the loop of the training.
        'default_hooks.stop.type=EarlyStoppingHook',
        'default_hooks.stop.monitor=seg/mIoU',
    )
    written = sorted(str(p.relative_to(out)) for p in out.rglob('*.*'))
    assert written == NAMES
    predictions, labels = (
        [cv2.imread(str(folder / name), -1) for name in NAMES]
        for folder in (out, config.parent / 'labels')
    )
    expected = _naive_scores(predictions, labels)
    # The prefix is that of the config's own evaluator.
    assert scores == pytest.approx(
        {f'seg/{name}': value for name, value in expected.items()}
    )
    # Mean recall is mean accuracy, the others differ.
    assert len(set(expected.values())) == len(expected) - 1
    assert 0 < expected['mIoU'] < 100
    line = (
        "the test evaluator is IoU(ignore_index=255, prefix='seg', "
        f'iou_metrics={METRICS}) in place of IoUMetric'
    )
    shown = capsys.readouterr().out
    assert line in ' '.join(shown.split())
    assert_said(shown, tmp_path / 'work', scores, out, pictures)
    [log] = (tmp_path / 'work').rglob('*.log')
    assert line in log.read_text()
    # MMSeg names a picture after its file, and a number.
    drawn = {p.name.partition('.png_')[0] for p in pictures.rglob('*.png')}
    assert drawn == {'test_0', 'test_1'}


def assert_said(shown, work_dir, scores, out, pictures):
    """Compare what a test says in a screen with what it did."""
    assert len(shown.splitlines()) <= 40
    assert 'all from ' in shown
    assert '\ntest       BaseSegDataset, 4 images, ' in shown
    assert '\n4/4  eta 0:00:00  ' in shown
    for name, value in scores.items():
        assert f'{name} {value:.4g}' in shown
    [file] = work_dir.glob('*/*.json')
    end = shown[shown.index('\ndone ') :]
    for path in (file, out, pictures):
        assert os.path.relpath(path) in end or str(path) in end
    # What upstream says of itself, and one table of the classes.
    assert 'Config:' not in shown
    assert shown.count('Class') == 1


def test_tta_averages_the_flipped_views(segmentation, tmp_path):
    config, checkpoint = segmentation
    plain, flipped, both = (tmp_path / name for name in ('p', 'f', 'b'))
    run_tool(
        'test', config, checkpoint, '--work-dir', plain, '--out', plain / 'out'
    )
    tta = ['--work-dir', both, '--tta', '--out', both / 'out']
    scores = run_tool('test', config, checkpoint, *tta)
    # The evaluator of the config, as it was.
    assert set(scores) == {'seg/aAcc', 'seg/mIoU', 'seg/mAcc'}
    run_tool(
        'test',
        config,
        checkpoint,
        '--tta',
        '--work-dir',
        flipped,
        '--out',
        flipped / 'out',
        '--cfg-options',
        'tta_pipeline.1.transforms.0.0.prob=1.0',
    )
    maps = [
        np.stack([cv2.imread(str(folder / 'out' / n), -1) for n in NAMES])
        for folder in (plain, flipped, both)
    ]
    # Where the views agree, so does their mean; they do not everywhere.
    agree = maps[0] == maps[1]
    assert 0 < agree.mean() < 1
    np.testing.assert_array_equal(maps[2][agree], maps[0][agree])


def test_detector(detection, tmp_path, capsys):
    config, checkpoint = detection
    out, pictures = tmp_path / 'out' / 'p.pkl', tmp_path / 'pictures'
    scores = run_tool(
        'test',
        config,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--eval',
        'bbox',
        '--out',
        out,
        '--show-dir',
        pictures,
    )
    shown = capsys.readouterr().out
    assert 'the test evaluator is CocoMetric(' in ' '.join(shown.split())
    # pycocotools prints its steps.
    assert 'DONE (t=' not in shown
    found = []
    for sample in pickle.loads(out.read_bytes()):
        boxes = sample['pred_instances']
        for (x1, y1, x2, y2), score, label in zip(
            boxes['bboxes'].tolist(),
            boxes['scores'].tolist(),
            boxes['labels'].tolist(),
            strict=True,
        ):
            found.append(
                dict(
                    image_id=sample['img_id'],
                    category_id=label + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    score=score,
                )
            )
    assert len({box['image_id'] for box in found}) == 3
    truth = COCO(str(config.parent / 'boxes.json'))
    evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    expected = evaluation.stats[:2]
    assert scores['coco/bbox_mAP'] == pytest.approx(expected[0], abs=1e-3)
    assert scores['coco/bbox_mAP_50'] == pytest.approx(expected[1], abs=1e-3)
    assert expected[1] > 0
    drawn = sorted(str(p.relative_to(pictures)) for p in pictures.rglob('*'))
    assert drawn == ['0.png', '1.png', '2.png']


def test_detector_with_default_tta(detection, tmp_path):
    config, checkpoint = detection
    scores = run_tool(
        'test',
        config,
        checkpoint,
        '--work-dir',
        tmp_path,
        '--eval',
        'bbox',
        '--tta',
    )
    assert 0 <= scores['coco/bbox_mAP_50'] <= 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param(
            ['--eval', 'bbox'],
            '--eval bbox is for configs with default_scope mmdet; this one '
            'has mmseg',
            id='metric of a detector',
        ),
        pytest.param(
            ['--eval', 'IoU'],
            "argument --eval: invalid choice: 'IoU'",
            id='no such metric',
        ),
        pytest.param(
            [
                '--show-dir',
                'x',
                '--cfg-options',
                'default_hooks.visualization=None',
            ],
            '--show and --show-dir need a visualizer and the hook',
            id='nothing that draws',
        ),
        pytest.param(
            ['--tta', '--cfg-options', 'tta_pipeline=None'],
            'tiny_seg.py has no tta_pipeline; see',
            id='no augmentation',
        ),
        pytest.param(
            ['--out', 'x.pkl'],
            '--out x.pkl: label maps are written as PNG files',
            id='out of a detector',
        ),
        pytest.param(
            ['--launcher', 'pytorch'],
            '--launcher pytorch: RANK is not in the environment, so this '
            'process was not started by torchrun',
            id='launcher',
        ),
        pytest.param(
            [
                '--cfg-options',
                'test_dataloader.dataset.data_root=/gone',
            ],
            'say where it is, such as with --cfg-options '
            'test_dataloader.dataset.data_root=...',
            id='no data',
        ),
        pytest.param(
            ['--cfg-options', 'test_cfg=None'], 'has no test_cfg', id='no test'
        ),
        pytest.param(
            ['--cfg-options', 'model.decode_head.num_classes=5'],
            'decode_head.conv_seg.weight (3, 8, 1, 1) and (5, 8, 1, 1)',
            id='other class count',
        ),
        pytest.param(
            ['--cfg-options', 'test_evaluator.type=IoUU'],
            "test_evaluator: there is no 'IoUU' in the registry mmseg::metric;"
            ' close: IoU',
            id='unknown metric',
        ),
        pytest.param(
            ['--cfg-options', 'test_evaluator.type=IoU', *OPTION_OF_NONE],
            'test_evaluator (IoU) cannot be built: TypeError: IoU.__init__() '
            "got an unexpected keyword argument 'class_wise'; close: "
            'classwise',
            id='unknown argument',
        ),
        *(
            pytest.param(
                [flag, f'{TOOLS}/test.py/new'],
                f'{flag} {TOOLS}/test.py/new: {TOOLS}/test.py is not a folder,'
                ' so no folder can be made below it',
                id=f'{flag} below a file',
            )
            for flag in ('--out', '--show-dir')
        ),
    ],
)
def test_one_line_says_what_is_wrong(
    segmentation, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.delenv('RANK', raising=False)
    config, checkpoint = segmentation
    argv = [config, checkpoint, '--work-dir', tmp_path, *arguments]
    assert message in error_of(capsys, run_tool, 'test', *argv)


def test_files_that_are_not_there(segmentation, tmp_path, capsys):
    config, checkpoint = segmentation
    for argv, message in (
        (['gone.py', checkpoint], 'there is no config gone.py'),
        ([config, 'gone.pth'], 'there is no checkpoint file gone.pth'),
        ([config, config], f'{config} cannot be loaded'),
    ):
        argv += ['--work-dir', tmp_path]
        assert message in error_of(capsys, run_tool, 'test', *argv)


@pytest.mark.parametrize('flags', [[], ['--tta']])
def test_heads_of_other_classes(segmentation, tmp_path, capsys, flags):
    config, _ = segmentation
    text = config.read_text().replace('num_classes = 3', 'num_classes = 5')
    (tmp_path / 'five.py').write_text(text)
    argv = _with_checkpoint(tmp_path / 'five.py')
    argv = [*argv, '--work-dir', tmp_path / 'work', *flags]
    assert error_of(capsys, run_tool, 'test', *argv).startswith(
        'model.decode_head.num_classes=5, but BaseSegDataset of '
        'test_dataloader has 3 classes (sky, wall, road): set num_classes=3 '
    )


def test_out_is_known_before_the_test(segmentation, tmp_path, capsys):
    config, checkpoint = segmentation
    root = config.parent
    # Of both data sets, the images are 0.png and 1.png.
    text = config.read_text() + (
        "parts = [dict(test_dataloader['dataset'], data_prefix=dict(\n"
        "    img_path=f'images/seq{n}', seg_map_path=f'labels/seq{n}'))\n"
        '    for n in (0, 1)]\n'
        "test_dataloader['dataset'] = dict(\n"
        "    type='ConcatDataset', datasets=parts)\n"
    )
    both = tmp_path / 'both.py'
    both.write_text(text)
    images = [str(root / f'images/seq{n}/0.png') for n in (0, 1)]
    before = [(p, p.read_bytes()) for p in sorted(root.rglob('*.png'))]
    for of, out, message in (
        (both, 'new', f'label maps of both {images[0]} and {images[1]}: test'),
        (config, root / 'images', f'would overwrite {images[0]}'),
        (config, root / 'labels', 'would overwrite '),
    ):
        argv = [of, checkpoint, '--work-dir', tmp_path / 'w', '--out', out]
        assert message in error_of(capsys, run_tool, 'test', *argv)
    assert before == [(p, p.read_bytes()) for p in sorted(root.rglob('*.png'))]
    # Without an output there is nothing to refuse.
    run_tool('test', both, checkpoint, '--work-dir', tmp_path / 'w')


def test_pickle_that_cannot_be_written(detection, tmp_path, capsys):
    config, checkpoint = detection
    (tmp_path / 'folder.pkl').mkdir()
    for out, message in (
        (tmp_path / 'folder.pkl', 'folder.pkl is a folder: expected a file'),
        (config / 'a.pkl', 'tiny_det.py is not a folder, so no file can be'),
    ):
        argv = [config, checkpoint, '--work-dir', tmp_path, '--out', out]
        assert message in error_of(capsys, run_tool, 'test', *argv)


def test_upstream_tool_writes_predictions(segmentation, tmp_path, monkeypatch):
    """``mim test mmseg CONFIG --out DIR`` with our metric."""
    config, checkpoint = segmentation
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'test.py'
    argv = [tool, config, checkpoint, '--work-dir', tmp_path / 'work']
    argv += ['--out', tmp_path / 'out', '--cfg-options']
    argv += ['test_evaluator.type=IoU', 'experiment_name=upstream']
    argv += ['test_dataloader.dataset.data_prefix.img_path=images/seq1']
    argv += ['test_dataloader.dataset.data_prefix.seg_map_path=labels/seq1']
    monkeypatch.setattr(sys, 'argv', [str(part) for part in argv])
    monkeypatch.setenv('LOCAL_RANK', '0')
    with DefaultScope.overwrite_default_scope('mmengine'):
        runpy.run_path(str(tool), run_name='__main__')
    written = [tmp_path / 'out' / f'{number}.png' for number in (0, 1)]
    assert sorted((tmp_path / 'out').iterdir()) == written
    predictions, labels = (
        [cv2.imread(str(path), -1) for path in paths]
        for paths in (
            written,
            [config.parent / f'labels/seq1/{n}.png' for n in (0, 1)],
        )
    )
    [scalars] = tmp_path.glob('work/*/*.json')
    scores = json.loads(scalars.read_text())
    expected = _naive_scores(predictions, labels)
    for name in ('aAcc', 'mIoU', 'mAcc'):
        assert scores[f'seg/{name}'] == pytest.approx(expected[name])


def test_a_checkpoint_of_a_part_is_not_tested(segmentation, tmp_path, capsys):
    config, checkpoint = segmentation
    content = torch.load(checkpoint)
    for key in list(content['state_dict']):
        if key.startswith('decode_head'):
            del content['state_dict'][key]
    torch.save(content, tmp_path / 'part.pth')
    argv = [config, tmp_path / 'part.pth', '--work-dir', tmp_path]
    line = error_of(capsys, run_tool, 'test', *argv)
    # Weight and bias of conv_seg, and twice a weight and four of a norm.
    assert 'part.pth lacks 12 of the ' in line
    assert 'random: decode_head.conv_seg.weight, decode_head.conv_' in line


def test_auxiliary_heads_may_be_missing(segmentation, tmp_path):
    config, checkpoint = segmentation
    head = 'model.auxiliary_head.'
    options = [
        f'{head}{option}'
        for option in (
            *('type=FCNHead', 'in_channels=16', 'channels=8', 'in_index=2'),
            *(
                'num_convs=1',
                'num_classes=3',
                'loss_decode.type=CrossEntropyLoss',
            ),
        )
    ]
    argv = [config, checkpoint, '--work-dir', tmp_path, '--cfg-options']
    scores = run_tool('test', *argv, *options)
    plain = run_tool('test', config, checkpoint, '--work-dir', tmp_path)
    assert scores == plain


def test_as_mim_starts_it_and_without_mmdet(segmentation, tmp_path):
    config, _ = segmentation
    # A checkpoint with all that mmengine records in training.
    run_tool('train', config, '--work-dir', tmp_path / 'train')
    checkpoint = tmp_path / 'train' / 'iter_2.pth'
    argv = [config, checkpoint, '--launcher', 'none', '--eval', 'mIoU']
    argv += ['--work-dir', tmp_path / 'test']
    code = (
        'import runpy, sys\n'
        "sys.modules['mmdet'] = None\n"
        f'sys.argv = {[str(TOOLS / "test.py"), *map(str, argv)]!r}\n'
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [scalars] = tmp_path.glob('test/*/*.json')
    assert 0 < json.loads(scalars.read_text())['seg/mIoU'] < 100
