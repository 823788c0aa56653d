"""The command line: from a folder in each format to a model that learns."""

import json
import runpy

import numpy as np
import pytest
from helpers.exports import write_scenes
from mmengine import DefaultScope

from mmseg_ext.formats.exports import format_of, formats
from test_tools.tiny_runs import TOOLS

#: Iterations that are trained, with a validation at the end.
ITERATIONS = 20


def run(tool, *argv):
    """Run a tool in this process."""
    main = runpy.run_path(str(TOOLS / tool))['main']
    with DefaultScope.overwrite_default_scope('mmengine'):
        main([str(part) for part in argv])


def init(*argv):
    run('init_config.py', *argv, '--yes', '--no-progress', '--nproc', '1')


@pytest.mark.parametrize('name', sorted(formats()))
def test_each_format_trains(name, tmp_path, capsys):
    """As many classes as were drawn, a loss that falls, a score."""
    write_scenes(tmp_path / 'data', name, number=8)
    config = tmp_path / 'my.py'
    init(tmp_path / 'data', '--out', config, '--model', 'fast')
    out = capsys.readouterr().out
    assert format_of(formats()[name]).TITLE in out
    assert 'doctor: 0 errors' in out
    work = tmp_path / 'work'
    options = [f'max_iters={ITERATIONS}', 'default_hooks.logger.interval=1']
    run('train.py', config, '--work-dir', work, '--cfg-options', *options)
    [log] = work.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert len(losses) == ITERATIONS
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    scores = {key for row in rows for key in row}
    assert scores & {'mIoU', 'coco/segm_mAP'}
