"""The page of symptoms quotes what comes."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_ext.datasets.transforms import label_files
from mmseg_ext.launch import switches
from mmseg_ext.launch.runs import LaunchError, run_test, run_training
from test_tools.tiny_runs import run_tool, write_detection, write_segmentation

PAGE = (Path(__file__).parents[1] / 'docs' / 'when_it_fails.md').read_text()


def rows():
    """Return the cells of each row of the page: symptom, cause, mend."""
    lines = re.findall(r'^\| (.+) \|$', PAGE, re.M)
    cells = [line.split(' | ') for line in lines]
    return [row for row in cells if row[0] != 'You see']


def symptoms():
    """Return the messages on the page as patterns; ``...`` is anything."""
    quoted = [
        text for row in rows() for text in re.findall('`([^`]+)`', row[0])
    ]
    return [
        '.*'.join(map(re.escape, text.split('...')))
        for text in quoted
        if ' ' in text
    ]


@pytest.fixture(scope='module')
def segmentation(tmp_path_factory):
    return write_segmentation(tmp_path_factory.mktemp('segmentation'))


#: The data set and loader of own data, in place of upstream's.
OURS = {
    'train_dataloader.dataset.pipeline.1.type': 'FastLoadAnnotations',
    'train_dataloader.dataset.type': 'PairedDataset',
    'train_dataloader.dataset.metainfo': {'classes': ('sky', 'wall', 'road')},
}


@pytest.fixture(scope='module')
def detection(tmp_path_factory):
    return write_detection(tmp_path_factory.mktemp('detection'))


def is_quoted(line):
    """Return whether a line is on the page, as a whole or from its start."""
    return [s for s in symptoms() if re.match(s, line)]


def test_rows_are_whole():
    assert len(rows()) > 25
    for row in rows():
        assert len(row) == 3, row
        assert all(cell.strip() for cell in row), row
    assert len({row[0] for row in rows()}) == len(rows())


def test_other_lines_are_not_quoted():
    assert not is_quoted('train_dataloader.dataset of other images fails')
    assert not is_quoted('label x.png is there: expected another')


def train(config, work_dir, **options):
    """Return the line that a training ends in before it begins."""
    with pytest.raises(LaunchError) as caught:
        run_training(
            str(config),
            str(work_dir),
            cfg_options={'experiment_name': work_dir.name, **options},
        )
    return str(caught.value)


DATA = 'train_dataloader.dataset'


@pytest.mark.parametrize(
    'options',
    [
        {'model.decode_head.num_classes': 2},
        {f'{DATA}.type': 'MyDataset'},
        {'optim_wrapper.optimizer.type': 'AdamW'},
        {'train_cfg.max_epochs': 3},
        {f'{DATA}.data_root': '/nowhere'},
        {f'{DATA}.img_suffix': '.jpg'},
        {**OURS, f'{DATA}.img_suffix': '.bmp'},
        {'data_root': '/nowhere'},
        {'optim_wrapper.type': 'AmpOptimWrapper'},
    ],
    ids=' '.join,
)
def test_faults_of_a_config_are_quoted(
    segmentation, tmp_path, options, monkeypatch
):
    monkeypatch.setattr(switches, 'get_device', lambda: 'cpu')
    line = train(segmentation, tmp_path, **options)
    assert is_quoted(line), line


@pytest.mark.parametrize(
    'mask',
    [
        np.full((64, 64), 7, np.uint8),
        np.full((64, 64, 3), (0, 128, 255), np.uint8),
        np.full((64, 64), 255, np.uint8),
    ],
    ids=['a value that is no class', 'colors', 'all ignored'],
)
def test_faults_of_masks_are_quoted(tmp_path, mask):
    config = write_segmentation(tmp_path / 'data')
    for path in (tmp_path / 'data' / 'labels').rglob('*.png'):
        cv2.imwrite(str(path), mask)
    for options in ({}, OURS):
        line = train(config, tmp_path, **options)
        assert is_quoted(line), line


def test_masks_of_black_and_white_are_quoted(monkeypatch):
    told = []
    monkeypatch.setattr(
        label_files, 'print_log', lambda text, **_: told.append(text)
    )
    values = np.array([[0, 255]], np.uint8)
    label_files.warn_of_white(values, 'a.png', label_files.SharedSet())
    [line] = told
    assert is_quoted(line), line


def test_categories_of_other_names_are_quoted(tmp_path):
    config = write_detection(tmp_path / 'data')
    options = {
        f'{DATA}.type': 'NailDataset',
        f'{DATA}.metainfo.classes': ('nails',),
    }
    line = train(config, tmp_path, **options)
    assert 'ann_file' in line
    assert is_quoted(line.partition('cannot be used: ')[2]), line


def test_names_that_are_not_in_the_json_are_quoted(detection, tmp_path):
    options = {
        f'{DATA}.metainfo.classes': ('cat', 'dog'),
        f'{DATA}.filter_cfg': {'filter_empty_gt': True},
    }
    line = train(detection, tmp_path, **options)
    empty, _, why = line.partition('; ')
    assert empty == 'train_dataloader.dataset is empty: expected images'
    assert is_quoted(empty)
    assert " has no category 'cat', 'dog', " in why
    assert is_quoted(why)


def test_weights_alone_are_quoted(segmentation, tmp_path):
    file = tmp_path / 'weights.pth'
    torch.save({'state_dict': {'a': torch.zeros(1)}}, file)
    with pytest.raises(LaunchError) as caught:
        run_training(str(segmentation), str(tmp_path), resume=str(file))
    assert is_quoted(str(caught.value)), str(caught.value)
    with pytest.raises(LaunchError) as caught:
        run_test(str(segmentation), str(file), str(tmp_path))
    assert is_quoted(str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ('shape', 'name'),
    [
        ((4, 8, 1, 1), 'decode_head.conv_seg.weight'),
        (None, 'decode_head.conv_seg.weight'),
    ],
    ids=['another shape', 'a part'],
)
def test_checkpoints_that_do_not_fit_are_quoted(
    segmentation, tmp_path, shape, name
):
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(Config.fromfile(segmentation).model)
    weights = model.state_dict()
    del weights[name]
    if shape:
        weights[name] = torch.zeros(shape)
    file = tmp_path / 'weights.pth'
    torch.save({'state_dict': weights}, file)
    with pytest.raises(LaunchError) as caught:
        run_test(str(segmentation), str(file), str(tmp_path))
    assert is_quoted(str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    'argv',
    [
        ['--auto-scale-lr'],
        ['--launcher', 'pytorch'],
    ],
    ids=' '.join,
)
def test_faults_of_options_are_quoted(segmentation, tmp_path, capsys, argv):
    with pytest.raises(SystemExit):
        run_tool('train', segmentation, '--work-dir', tmp_path, *argv)
    line = capsys.readouterr().err.splitlines()[-1]
    assert is_quoted(line.partition('error: ')[2]), line
