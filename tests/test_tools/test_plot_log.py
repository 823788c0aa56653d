import csv
import importlib.util
import json

import cv2
import pytest

from helpers.command_lines import error_of
from mmseg_ext.visualization import curves
from mmseg_ext.visualization.curves import draw_curves
from test_tools.tiny_runs import TOOLS, run_tool, write_segmentation

VALIDATION = """
val_dataloader = test_dataloader
val_evaluator = dict(type='IoU', classwise=True)
val_cfg = dict(type='ValLoop')
train_cfg['val_interval'] = 1
custom_hooks = []
"""

NAMES = [
    *('curves.png', 'class_iou.png', 'class_iou.md', 'class_iou.csv'),
    *('confusion.png', 'confusion.md', 'confusion.csv'),
]


def _plot(*argv):
    spec = importlib.util.spec_from_file_location(
        'plot_log', TOOLS / 'analysis' / 'plot_log.py'
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main([str(part) for part in argv])


def _table(path):
    with open(path, newline='', encoding='utf-8') as file:
        return {
            row['class']: float(row['IoU']) for row in csv.DictReader(file)
        }


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    config = write_segmentation(tmp_path_factory.mktemp('seg'))
    config.write_text(config.read_text() + VALIDATION)
    return config


def test_training_then_test(config, tmp_path, capsys):
    run_tool('train', config, '--work-dir', tmp_path)
    [scalars] = tmp_path.glob('*/vis_data/scalars.json')
    # Drawn without asking, and again.
    plots = tmp_path / 'plots'
    files = [plots / name for name in NAMES]
    assert sorted(plots.iterdir()) == sorted(files)
    drawn = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    capsys.readouterr()
    _plot(tmp_path)
    assert capsys.readouterr().out.splitlines() == list(map(str, files))
    assert [path.read_bytes() for path in files] == drawn
    last = json.loads(scalars.read_text().splitlines()[-1])
    classes = ('sky', 'wall', 'road')
    assert _table(plots / 'class_iou.csv') == pytest.approx(
        {name: last[f'IoU.{name}'] for name in classes}, nan_ok=True
    )
    for name in [name for name in NAMES if name.endswith('.png')]:
        assert cv2.imread(str(plots / name)).std() > 5

    # The way that the tool names where a training logged no classes.
    scores = run_tool(
        'test',
        config,
        tmp_path / 'iter_1.pth',
        '--work-dir',
        tmp_path / 'test',
        '--cfg-options',
        'test_evaluator.type=IoU',
        'test_evaluator.classwise=True',
    )
    _plot(tmp_path / 'test', '--out-dir', tmp_path / 'out')
    assert _table(tmp_path / 'out' / 'class_iou.csv') == pytest.approx(
        {name: scores[f'seg/IoU.{name}'] for name in classes}, nan_ok=True
    )
    assert not (tmp_path / 'out' / 'curves.png').exists()


def test_resumed_training(config, tmp_path, monkeypatch):
    text = config.read_text().replace('custom_hooks = []', '')
    config = config.with_name('silent.py')
    config.write_text(text)
    first = ['--cfg-options', 'train_cfg.max_iters=1']
    run_tool('train', config, '--work-dir', tmp_path, *first)
    run_tool('train', config, '--work-dir', tmp_path, '--resume')
    logged = [
        json.loads(line)
        for path in sorted(tmp_path.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    drawn = []
    monkeypatch.setattr(
        curves,
        'draw_curves',
        lambda history: drawn.append(history) or draw_curves(history),
    )
    _plot(tmp_path)
    [history] = drawn
    for series, name in ((history.losses, 'loss'), (history.scores, 'mIoU')):
        values = [record[name] for record in logged if name in record]
        assert series[name] == ([1, 2], values)


def test_errors_are_one_line(tmp_path, capsys):
    gone = tmp_path / 'gone'
    assert str(gone) in error_of(capsys, _plot, gone)
