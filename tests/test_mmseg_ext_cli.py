import argparse
import os
import re
from pathlib import Path

import pytest
from mmengine.config import DictAction

import mmseg_ext_cli as cli

ROOT = Path(__file__).parents[1]


def constants():
    """List what the tools and the front itself read of the package."""
    files = [*ROOT.glob('tools/**/*.py'), Path(cli.__file__)]
    text = ''.join(path.read_text() for path in files)
    return sorted(set(re.findall(r"constant\(\s*'([^']+)'", text)))


def test_some_constants_are_read():
    assert 'mmseg_ext.launch.runs:LAUNCHERS' in constants()


@pytest.mark.parametrize('target', constants())
def test_constant_is_what_an_import_gives(target):
    value = cli.load(target)
    expected = tuple(value) if isinstance(value, dict) else value
    assert cli.constant(target) == expected


@pytest.fixture
def module(tmp_path):
    path = tmp_path / 'module.py'
    path.write_text(
        'import nowhere\n'
        'NUMBER = -0.5\n'
        "NAMES = ('a', 'b')\n"
        "TABLE = {'x': nowhere.x, 'y': NUMBER}\n"
        'SUM = NUMBER + nowhere.y\n'
        'def function():\n'
        '    INNER = 1\n'
    )
    return path


@pytest.mark.parametrize(
    ('name', 'expected'),
    [('NUMBER', -0.5), ('NAMES', ('a', 'b')), ('TABLE', ('x', 'y'))],
)
def test_constant_of_a_file(module, name, expected):
    assert cli.read_constant(module, name) == expected


def test_what_is_no_constant(module):
    for name in ('INNER', 'nowhere', 'GONE'):
        with pytest.raises(LookupError, match=rf'module\.py .* to {name}$'):
            cli.read_constant(module, name)
    with pytest.raises(ValueError, match='malformed'):
        cli.read_constant(module, 'SUM')


def test_call():
    assert cli.call('builtins:int', 'ff', base=16) == 255
    # No traceback and no cause to show: one line.
    with pytest.raises(SystemExit, match=r'^error: invalid literal .*zz'):
        cli.call('builtins:int', 'zz')
    with pytest.raises(SystemExit, match=r"^error: .*'/gone'"):
        cli.call('os:listdir', '/gone')
    # A fault of the program and not of the user.
    with pytest.raises(TypeError, match='len'):
        cli.call('builtins:len', 5)


def launch(*argv):
    """Give the arguments that a function gets."""
    parser = cli.make_launch_parser('', '')
    options = vars(parser.parse_args(['c.py', *argv]))
    return cli.launch(parser, 'builtins:dict', options)


def test_local_rank_reaches_the_environment(monkeypatch):
    # Set first, so that monkeypatch takes away what the tool sets.
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.delenv('LOCAL_RANK')
    got = launch('--local-rank=3')
    assert got['config'] == 'c.py'
    assert 'local_rank' not in got
    assert os.environ['LOCAL_RANK'] == '3'
    # What a launcher has set already stays.
    launch('--local_rank', '5')
    assert os.environ['LOCAL_RANK'] == '3'


@pytest.mark.parametrize('pairs', ['lr', 'a=[1,2'])
def test_malformed_options(capsys, pairs):
    with pytest.raises(SystemExit) as caught:
        launch('--cfg-options', pairs)
    assert caught.value.code == 2
    assert (
        f"expected KEY=VALUE pairs, got '{pairs}'" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    'argv',
    [
        pytest.param([], id='none'),
        pytest.param(
            ['--cfg-options', 'a.b=1', 'c=1e-3', 'd=true', 'e=None', 'f='],
            id='plain',
        ),
        pytest.param(
            ['--cfg-options', 'a=1,x,False', 'b=[(1, 2),[a,b]]', "c='(1,)'"],
            id='lists',
        ),
        pytest.param(['--cfg-options', 'a=b=c', 'd=x y', '=1'], id='odd'),
        pytest.param(
            ['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'b=3', 'c=4'],
            id='twice',
        ),
    ],
)
def test_options_are_those_of_mmengine(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    expected = parser.parse_args(argv).cfg_options or {}
    got = launch(*argv)['cfg_options']
    assert got == expected
    # True == 1 == 1.0, but not here.
    assert repr(got) == repr(expected)


@pytest.mark.parametrize(
    ('own', 'expected'),
    [
        pytest.param({}, cli.PASSIVE, id='none'),
        *(
            pytest.param({name: value}, {name: value}, id=name)
            for name, value in (
                ('OMP_WAIT_POLICY', 'ACTIVE'),
                ('GOMP_SPINCOUNT', '1000'),
                ('KMP_BLOCKTIME', '200'),
                ('KMP_LIBRARY', 'turnaround'),
            )
        ),
    ],
)
def test_threads_wait_passively_unless_told(monkeypatch, own, expected):
    monkeypatch.setattr(os, 'environ', dict(own))
    cli.wait_passively()
    assert os.environ == expected
