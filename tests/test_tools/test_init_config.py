"""The command line: from a folder in each format to a model that learns."""

import json
import runpy

import numpy as np
import pytest
from mmengine import DefaultScope

from helpers.exports import write_scenes
from helpers.garbage import collect_garbage
from mmseg_ext.formats.exports import format_of, formats
from mmseg_ext.planning import init
from test_tools.tiny_runs import TOOLS, run_tool

#: Iterations that are trained, with a validation at the end.
ITERATIONS = 20


def run_init(*argv):
    """Run the tool in this process."""
    main = runpy.run_path(str(TOOLS / 'init_config.py'))['main']
    with DefaultScope.overwrite_default_scope('mmengine'):
        main([*map(str, argv), '--yes', '--no-progress', '--nproc', '1'])


@pytest.fixture
def no_measure(monkeypatch):
    """Leave out what is tested by itself: a process, and seconds."""

    class Measure:
        def __init__(self, *args, **options):
            pass

        def __enter__(self):
            return lambda batch_size: batch_size << 20

        def __exit__(self, *args):
            pass

    monkeypatch.setattr(init, 'StepMemory', Measure)


@pytest.fixture
def no_loaders():
    """End the processes of a run before others are copies of this one."""
    yield
    collect_garbage()


@pytest.mark.usefixtures('no_measure', 'no_loaders')
@pytest.mark.parametrize('name', sorted(formats()))
def test_each_format_trains(name, tmp_path, capsys):
    """A loss that falls, and a score."""
    write_scenes(tmp_path / 'data', name, number=8)
    config = tmp_path / f'{name}.py'
    run_init(tmp_path / 'data', '--out', config, '--model', 'fast')
    out = capsys.readouterr().out
    assert format_of(formats()[name]).TITLE in ' '.join(out.split())
    assert 'doctor: 0 errors' in out
    work = tmp_path / 'work'
    options = [
        f'max_iters={ITERATIONS}',
        'default_hooks.logger.interval=1',
        # One name, one visualizer in a process.
        f'visualizer.name={name}',
    ]
    run_tool('train', config, '--work-dir', work, '--cfg-options', *options)
    [log] = work.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert len(losses) == ITERATIONS
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert {key for row in rows for key in row} & {'mIoU', 'coco/segm_mAP'}
