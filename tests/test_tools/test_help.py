"""Every command line answers before anything heavy is imported."""

import os
import re
import subprocess
import sys

import pytest

from test_tools.tiny_runs import TOOLS

#: Runs a tool as `python tools/X.py` does, where only the standard library
#: and the front of the command lines can be imported.
PROGRAM = """\
import os, runpy, sys

class Refuse:
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] not in ALLOWED:
            policy = os.environ.get('OMP_WAIT_POLICY')
            # Passes whatever a tool may catch.
            raise SystemExit(f'{name} is imported, threads wait {policy}')

ALLOWED = {*sys.stdlib_module_names, 'mmseg_ext_cli'}
sys.meta_path.insert(0, Refuse)
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name='__main__')
"""

NAMES = sorted(
    path.relative_to(TOOLS).as_posix() for path in TOOLS.rglob('*.py')
)


def start(name, *argv):
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(('OMP_', 'GOMP_', 'KMP_'))
    }
    return subprocess.run(
        [sys.executable, '-c', PROGRAM, str(TOOLS / name), *argv],
        env=environment,
        capture_output=True,
        text=True,
    )


def check_error(done, name, message):
    """Expect the usage and one line that says what is wrong."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ''
    program = name.rpartition('/')[2]
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f'usage: {program} ')
    # A subcommand has its own usage.
    assert re.match(rf'{re.escape(program)}( \w+)?: error: ', lines[-1])
    assert done.stderr.count('error:') == 1
    assert 'Traceback' not in done.stderr
    assert message in lines[-1]


@pytest.mark.parametrize(
    'argv', ['', '--version', 'trian', 'convert', 'train --help']
)
def test_the_command_answers_as_soon(argv):
    done = start('../mmseg_ext_cli.py', *argv.split())
    shown, status = (done.stderr, 2) if argv == 'trian' else (done.stdout, 0)
    assert done.returncode == status, done.stderr
    assert shown.removeprefix('usage: ').startswith('mmseg-ext')


@pytest.mark.parametrize('name', NAMES)
def test_help(name):
    done = start(name, '--help')
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    assert done.stdout.startswith(f'usage: {name.rpartition("/")[2]} ')
    assert '--help' in done.stdout


@pytest.mark.parametrize('name', NAMES)
def test_wrong_arguments(name):
    check_error(start(name, '--no-such-option'), name, '')


@pytest.mark.parametrize(
    ('name', 'argv', 'message'),
    [
        ('train.py', 'c.py --launcher x', "--launcher: invalid choice: 'x'"),
        ('train.py', 'c.py --cfg-options lr', "KEY=VALUE pairs, got 'lr'"),
        ('test.py', 'c.py x.pth --eval IoU', "--eval: invalid choice: 'IoU'"),
        (
            'test.py',
            'c.py x.pth --wait-time long',
            "--wait-time: invalid float value: 'long'",
        ),
        ('demo.py', '--num many', "--num: invalid int value: 'many'"),
        ('compare.py', 'a b --seed x', "--seed: invalid int value: 'x'"),
        (
            'browse.py',
            'x.json --columns two',
            "--columns: invalid int value: 'two'",
        ),
        (
            'crop_instances.py',
            'c.py x.pth x.jpg --score-thr half',
            "--score-thr: invalid float value: 'half'",
        ),
        (
            'segment.py',
            'c.py x.pth x.jpg --out-dir out --crop-size half',
            "--crop-size: invalid int value: 'half'",
        ),
        ('make_sample_data.py', 'coco out', "invalid choice: 'coco'"),
        ('make_sample_data.py', 'idd out --size 64', 'as in 480x360'),
        (
            'analysis/class_weights.py',
            'c.py --rule rare',
            "--rule: invalid choice: 'rare'",
        ),
        ('analysis/class_weights.py', 'c.py --cfg-options x', "got 'x'"),
        ('analysis/plot_log.py', 'one two', 'unrecognized arguments: two'),
        (
            'dataset_converters/camvid.py',
            'data --grouping camvid12',
            "--grouping: invalid choice: 'camvid12'",
        ),
        (
            'dataset_converters/cityscapes.py',
            'data --nproc all',
            "--nproc: invalid int value: 'all'",
        ),
        (
            'dataset_converters/idd.py',
            'data --seed x',
            "--seed: invalid int value: 'x'",
        ),
        (
            'dataset_converters/labelme.py',
            'data --val-fraction half',
            "--val-fraction: invalid float value: 'half'",
        ),
        (
            'dataset_converters/nails.py',
            'data --segmentation box',
            "--segmentation: invalid choice: 'box'",
        ),
        (
            'dataset_converters/nuimages.py',
            '--versions v1.0-val v2',
            "--versions/--version: invalid choice: 'v2'",
        ),
    ],
)
def test_wrong_values(name, argv, message):
    check_error(start(name, *argv.split()), name, message)


@pytest.mark.parametrize(
    ('name', 'argv', 'words'),
    [
        ('make_sample_data.py', 'nails --help', ['480x360', '--overwrite']),
        (
            'test.py',
            '--help',
            [
                *('mIoU', 'mDice', 'mFscore', 'mPrecision', 'mRecall'),
                *('FWIoU', 'bbox', 'segm', 'slurm', 'mpi'),
            ],
        ),
        ('demo.py', '--help', ['(default: 400)']),
        ('compare.py', '--help', ['compare.html', '(default: 2000)']),
        ('crop_instances.py', '--help', ['(default: keep)']),
        (
            'analysis/class_weights.py',
            '--help',
            ['{median_frequency,sqrt_median_frequency}'],
        ),
        ('dataset_converters/camvid.py', '--help', ['{camvid11}', '0.1']),
        ('dataset_converters/nails.py', '--help', ['{rle,polygon,contour}']),
        (
            'dataset_converters/nuimages.py',
            '--help',
            ['v1.0-mini, v1.0-train, v1.0-val, v1.0-test'],
        ),
    ],
)
def test_choices_and_defaults_are_shown(name, argv, words):
    text = ' '.join(start(name, *argv.split()).stdout.split())
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ('name', 'argv'),
    [
        ('train.py', 'c.py'),
        ('test.py', 'c.py x.pth'),
        ('demo.py', ''),
        ('browse.py', 'x.json'),
        ('compare.py', 'a b'),
        ('crop_instances.py', 'c.py x.pth x.jpg'),
        ('make_sample_data.py', 'idd out'),
        ('analysis/class_weights.py', 'c.py'),
        ('analysis/plot_log.py', 'work'),
        ('dataset_converters/camvid.py', 'data'),
        ('dataset_converters/cityscapes.py', 'data'),
        ('dataset_converters/idd.py', 'data'),
        ('dataset_converters/labelme.py', 'data'),
        ('dataset_converters/nails.py', 'data'),
        ('dataset_converters/nuimages.py', ''),
    ],
)
def test_import_comes_then_and_finds_threads_that_wait(name, argv):
    done = start(name, *argv.split())
    assert done.returncode == 1
    assert done.stderr == 'mmseg_ext is imported, threads wait PASSIVE\n'
