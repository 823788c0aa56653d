import runpy
import shutil

import numpy as np
import pytest
from mmengine import DefaultScope

from helpers.command_lines import error_of
from helpers.run_folders import write_semantic_run
from mmseg_ext.formats.run_records import (
    Meta,
    read_counts,
    read_meta,
    write_meta,
)
from test_tools.tiny_runs import TOOLS, run_tool, write_segmentation


def report(*argv):
    """Run the tool in this process."""
    main = runpy.run_path(str(TOOLS / 'report.py'))['main']
    with DefaultScope.overwrite_default_scope('mmengine'):
        main([str(part) for part in argv])


def run_name(name):
    """Tell a run apart from another one of the same second."""
    return '--cfg-options', f'experiment_name={name}'


@pytest.fixture
def run(tmp_path):
    label = np.zeros((8, 9), np.uint8)
    label[4:] = 1
    write_semantic_run(tmp_path / 'run', [(label, np.roll(label, 1, 0))])
    return tmp_path / 'run'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, and a checkpoint that was trained with it."""
    root = tmp_path_factory.mktemp('tiny')
    config = write_segmentation(root)
    run_tool('train', config, '--work-dir', root / 'work')
    return config, root / 'work' / 'iter_2.pth'


def test_a_checkpoint(trained, tmp_path, capsys):
    out, work = tmp_path / 'pages' / 'a.html', tmp_path / 'work'
    name = run_name('one')
    report(*trained, '--out', out, '--work-dir', work, '--probs', *name)
    [folder] = work.glob('*/records/test')
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f'{out}: a page of 4 images',
        f'run directory: {folder}',
    ]
    meta = read_meta(folder)
    assert read_counts(folder, meta).confidence[:, 0].sum() == 4 * 64 * 64
    page = out.read_text()
    for part in ('sky', 'Calibration', 'seq0/0.png', 'id="training"'):
        assert part in page
    before = out.read_bytes()
    report('--from', folder, '--out', out, '--images', '60')
    assert out.read_bytes() == before


def test_a_run_directory(run, tmp_path, capsys):
    out = tmp_path / 'a.html'
    (tmp_path / 'data' / '0.png').unlink()
    report('--from', run, '--out', out)
    note, line = capsys.readouterr().out.splitlines()
    assert note.startswith('note: 1 image cannot be shown, such as 0.png: ')
    assert line == f'{out}: a page of 1 image'
    assert out.read_text().startswith('<!DOCTYPE html>')


def test_what_does_not_fit(run, trained, tmp_path, capsys):
    out = ('--out', tmp_path / 'a.html')
    assert error_of(capsys, report, *out) == (
        'expected CONFIG and CHECKPOINT, or --from RUN_DIR'
    )
    message = error_of(capsys, report, 'a.py', 'b', '--from', run, *out)
    assert 'is a test that was done' in message
    message = error_of(capsys, report, '--from', run, '--out', tmp_path)
    assert message.startswith('--out ')
    assert 'is a folder: expected a file' in message
    message = error_of(capsys, report, '--from', tmp_path, *out)
    assert 'no meta.json' in message
    whole = tmp_path / 'work' / '20260101_120000' / 'records' / 'test'
    shutil.copytree(run, whole)
    message = error_of(capsys, report, '--from', tmp_path / 'work', *out)
    assert f'there is {whole}' in message
    message = error_of(capsys, report, '--from', run, '--work-dir', 'a', *out)
    assert message.startswith('--work-dir and --cfg-options are of a test')
    message = error_of(capsys, report, '--from', run, *out, '--images', '-1')
    assert message.startswith('--images -1')
    message = error_of(capsys, report, '--from', run, *out, '--cluster', '[')
    assert 'is no regular expression' in message
    gone = trained[0], tmp_path / 'gone.pth'
    message = error_of(capsys, report, *gone, *out)
    assert 'gone.pth' in message
    assert not (tmp_path / 'a.html').exists()


def test_a_test_is_not_done_or_not_lost_for_an_option(
    trained, tmp_path, capsys
):
    work = tmp_path / 'work'
    end = '--out', tmp_path / 'a.html', '--work-dir', work
    gone = '--curves', tmp_path / 'gone'
    assert 'gone' in error_of(capsys, report, *trained, *end, *gone)
    wrong = '--cluster', '('
    message = error_of(capsys, report, *trained, *end, *wrong)
    assert 'is no regular expression' in message
    assert not work.exists()
    wrong = '--cluster', 'zzz'
    name = run_name('two')
    message = error_of(capsys, report, *trained, *end, *wrong, *name)
    [folder] = work.glob('*/records/test')
    assert f'the test is done, and taken up by --from {folder}' in message
    report('--from', folder, '--out', tmp_path / 'a.html')


def test_a_checkpoint_that_does_not_fit(trained, tmp_path, capsys):
    config, checkpoint = trained
    other = tmp_path / 'other.py'
    other.write_text(
        f'_base_ = {str(config)!r}\n'
        'model = dict(decode_head=dict(num_classes=5))\n'
    )
    out = tmp_path / 'a.html'
    message = error_of(
        capsys,
        report,
        *(other, checkpoint, '--out', out, '--work-dir', tmp_path / 'work'),
        *run_name('three'),
    )
    assert 'decode_head' in message
    assert not out.exists()


def test_no_images(tmp_path, capsys):
    meta = Meta(
        task='semantic', classes=('a',), palette=((0, 0, 0),), images=0
    )
    write_meta(tmp_path / 'run', meta)
    out = tmp_path / 'a.html'
    message = error_of(
        capsys, report, '--from', tmp_path / 'run', '--out', out
    )
    assert 'it has no images to report' in message
