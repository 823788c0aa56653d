import argparse
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from mmengine.config import DictAction

import mmseg_ext_cli as cli
from helpers.command_lines import error_of

ROOT = Path(__file__).parents[1]


TOOLS = ROOT / 'tools'


def constants():
    """List what the tools and the front itself read of the package."""
    files = [*ROOT.glob('tools/**/*.py'), Path(cli.__file__)]
    text = ''.join(path.read_text() for path in files)
    return sorted(set(re.findall(r"constant\(\s*'([^']+)'", text)))


def listed(text):
    """Return the lines of help by command."""
    rows = re.findall(r'^  (\S+(?: \S+)?)  +(.+)$', text, re.M)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def first_lines():
    """Return the first line of each tool's docstring, by its file."""
    return {
        path.relative_to(TOOLS).as_posix(): path.read_text()
        .split('"""')[1]
        .splitlines()[0]
        for path in TOOLS.rglob('*.py')
    }


@pytest.mark.parametrize('argv', [[], ['-h'], ['--help'], ['help']])
def test_help_lists_all_tools(capsys, argv):
    cli.main(argv)
    text = capsys.readouterr().out
    assert text.startswith('usage: mmseg-ext COMMAND ...\n')
    assert sorted(listed(text).values()) == sorted(first_lines().values())
    assert list(listed(text))[:4] == [
        *('init', 'train', 'test', 'convert camvid')
    ]


@pytest.mark.parametrize(
    'argv', [['convert'], ['convert', '--help'], ['help', 'convert']]
)
def test_help_of_a_group_lists_its_own(capsys, argv):
    cli.main(argv)
    found = listed(capsys.readouterr().out)
    expected = {
        f'convert {Path(file).stem}': line
        for file, line in first_lines().items()
        if file.startswith('dataset_converters/')
    }
    assert found == expected
    assert len(expected) == 6


@pytest.mark.parametrize(
    ('argv', 'told'),
    [
        ('trian', "'trian'; did you mean train?"),
        ('convert nial', "'convert nial'; did you mean convert nails?"),
        ('nails', "'nails'; did you mean convert nails?"),
        ('plot_log work', "'plot_log'; did you mean plot?"),
        ('make_sample_data', "'make_sample_data'; did you mean sample?"),
        ('t', "'t'; mmseg-ext --help lists all"),
        ('TRAIN', "'TRAIN'; did you mean train?"),
        ('--amp', "'--amp'; mmseg-ext --help lists all"),
        (
            '--work-dir x train',
            "'--work-dir': the command comes first, mmseg-ext train "
            '--work-dir ...\n',
        ),
        ('convert --version', "'convert --version'; mmseg-ext --help lists"),
    ],
)
def test_a_misspelt_command_is_one_line(capsys, argv, told):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv.split())
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith(f'mmseg-ext: error: there is no command {told}')
    assert err.count('\n') == 1


def test_version(capsys):
    cli.main(['--version'])
    version = cli.load('mmseg_ext:__version__')
    assert capsys.readouterr().out == f'mmseg-ext {version}\n'


def test_pip_makes_the_command():
    tomllib = pytest.importorskip('tomllib')
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    assert project['scripts'] == {'mmseg-ext': 'mmseg_ext_cli:main'}


@pytest.mark.parametrize(
    'command', ['train', 'convert nails', 'sample camvid', 'class-weights']
)
def test_help_of_a_command(capsys, command):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), '--help'])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(
        f'usage: mmseg-ext {command} [-h]'
    )


def test_examples_are_what_was_typed(capsys):
    with pytest.raises(SystemExit):
        cli.main(['crop', '--help'])
    examples = capsys.readouterr().out.partition('examples:')[2]
    assert len(re.findall('^    mmseg-ext crop CONFIG', examples, re.M)) == 2
    assert '.py ' not in examples.replace('CONFIG.py', '')


def test_a_command_does_what_its_tool_does(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pytest', '-q'])
    out = tmp_path / 'out'
    words = ['sample', 'nails', str(out), '--num', '5', '--size', '96x64']
    assert cli.main(words) is None
    assert len(list(out.glob('Masks/*/*.png'))) == 5
    following = capsys.readouterr().out.splitlines()[1]
    hint = f'mmseg-ext convert nails {out}'
    assert following.startswith(f'next: {hint}  # ')
    cli.main([*shlex.split(hint)[1:], '--no-progress'])
    following = capsys.readouterr().out.splitlines()[-1]
    browse, file, option, folder, *_ = shlex.split(following)[2:]
    assert (browse, option, folder) == ('browse', '--img-dir', str(out))
    assert Path(file).is_file()
    assert sys.argv == ['pytest', '-q']


def test_errors_of_a_command_have_its_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/bin/mmseg-ext', 'plot', 'gone'])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert re.fullmatch(
        'mmseg-ext plot: error: .*gone.*\n', capsys.readouterr().err
    )


def test_the_status_is_that_of_the_tool(monkeypatch):
    """A script ends with what its function returns: nothing, then."""
    monkeypatch.setattr(
        cli, 'tool_of', lambda _: argparse.Namespace(main=lambda _: {'a': 1})
    )
    assert cli.main(['test']) is None


@pytest.mark.parametrize(
    ('called', 'expected'),
    [
        ('mmseg-ext train', 'mmseg-ext plot'),
        ('/x/bin/pytest', 'mmseg-ext plot'),
        ('tools/train.py', 'python tools/analysis/plot_log.py'),
        ('../tools/train.py', 'python ../tools/analysis/plot_log.py'),
        ('/a b/tools/train.py', "python '/a b/tools/analysis/plot_log.py'"),
        (
            '/x/mmseg_ext/.mim/tools/dataset_converters/nails.py',
            'mim run mmseg_ext plot_log',
        ),
    ],
)
def test_hints_are_what_the_user_can_type(monkeypatch, called, expected):
    monkeypatch.setattr(sys, 'argv', [called, 'x'])
    assert cli.spell('plot', Path('a b'), 3) == f"{expected} 'a b' 3"


@pytest.mark.parametrize(
    ('folder', 'called', 'expected'),
    [
        ('tools', 'demo.py', 'python dataset_converters/nails.py'),
        (
            'tools/analysis',
            'plot_log.py',
            'python ../dataset_converters/nails.py',
        ),
    ],
)
def test_hints_within_the_folder_of_tools(
    tmp_path, monkeypatch, folder, called, expected
):
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setattr(sys, 'argv', [called])
    assert cli.spell('convert nails', 'x') == f'{expected} x'


def test_hints_name_more_words_than_a_command(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['/x/mmseg_ext/.mim/tools/train.py'])
    assert cli.spell('sample camvid', 'out') == (
        'mim run mmseg_ext make_sample_data camvid out'
    )
    with pytest.raises(KeyError):
        cli.spell('sampel camvid')


def test_any_name_can_be_printed(monkeypatch):
    data = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(data, 'ascii'))
    cli.make_parser('')
    print('a\udcff Straße', flush=True)
    assert data.getvalue() == b'a\\udcff Stra\\xdfe\n'


@pytest.fixture
def lost():
    """Standard output whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    raw = cli._Output(writer, 'wb', closefd=False)
    yield io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True)
    os.close(writer)


def test_a_tool_without_reader_goes_on(lost, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', lost)
    for _ in range(3):
        print('x' * 9000)
        print('a line')
    lost.flush()


def test_help_is_read_in_part():
    """As with ``| head -1``: nothing is said, and the status is 0."""
    process = subprocess.Popen(
        [sys.executable, cli.__file__, '--help'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b'', 0)
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='of Linux')
def test_a_full_disk_is_one_line():
    with open('/dev/full', 'wb') as full:
        done = subprocess.run(
            [sys.executable, cli.__file__, '--version'],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(
        r'\S+: error: standard output cannot be written: .+\n', done.stderr
    )


def test_the_package_is_not_taken_from_the_current_folder(tmp_path):
    (tmp_path / 'mmseg_ext').mkdir()
    (tmp_path / 'mmseg_ext' / '__init__.py').write_text('raise SystemExit(9)')
    done = subprocess.run(
        [sys.executable, '-m', 'mmseg_ext_cli', 'train', 'gone.py'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'there is no config gone.py' in done.stderr


def test_some_constants_are_read():
    assert 'mmseg_ext.launch.distributed:LAUNCHERS' in constants()


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


@pytest.fixture
def parser():
    """A parser with an argument of each kind."""
    parser = cli.make_parser('')
    parser.prog = 'tool.py'
    parser.add_argument('ann_file')
    parser.add_argument('data_roots', nargs='+', metavar='DATA_ROOT')
    parser.add_argument('--out-dir')
    parser.add_argument('-n', '--num', type=int)
    parser.add_argument('--eval', dest='metrics', nargs='+')
    parser.add_argument('--versions', '--version', nargs='+')
    parser.add_argument('--skip-invalid', action='store_true')
    parser.add_argument('--copy', action='store_true')
    parser.add_argument('--bare', dest='pictures', action='store_false')
    parser.add_argument('--folder', type=Path)
    return parser


@pytest.mark.parametrize(
    ('argv', 'flag'),
    [
        (['', 'x'], 'ann_file'),
        (['x', 'y', ''], 'DATA_ROOT'),
        (['x', 'y', '--folder', ''], '--folder'),
        (['x', 'y', '--out-dir='], '--out-dir'),
    ],
)
def test_empty_arguments(parser, capsys, argv, flag):
    """As a path, one would be the current folder."""
    with pytest.raises(SystemExit, match=r'^2$'):
        parser.parse_args(argv)
    assert capsys.readouterr().err.endswith(
        f': error: argument {flag}: it is empty; is a variable of the shell '
        'not set?\n'
    )


def test_call(parser, capsys):
    assert cli.call(parser, 'builtins:int', 'ff', base=16) == 255
    # Any name may be that of an argument.
    named = cli.call(parser, 'builtins:dict', parser=1, target=2)
    assert named == {'parser': 1, 'target': 2}
    for target, given, message in (
        ('builtins:int', 'zz', 'invalid literal .*zz'),
        ('os:listdir', '/gone', ".*'/gone'"),
    ):
        assert re.match(
            message, error_of(capsys, cli.call, parser, target, given)
        )
    # A fault of the program and not of the user.
    with pytest.raises(TypeError, match='len'):
        cli.call(parser, 'builtins:len', 5)


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('two\nlines with num=0', 'two lines with --num 0'),
        ('', 'ValueError'),
    ],
)
def test_errors_are_one_line(
    parser, capsys, monkeypatch, tmp_path, text, shown
):
    (tmp_path / 'fails.py').write_text(
        f'def run():\n    raise ValueError({text!r})\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'fails', raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.call(parser, 'fails:run')
    assert caught.value.code == 2
    # Nothing that a traceback would show besides.
    assert caught.value.__context__ is None
    assert capsys.readouterr() == ('', f'tool.py: error: {shown}\n')


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('num=0: expected 1', '--num 0: expected 1'),
        ('num=-3; expected 1', '--num -3; expected 1'),
        (
            'leave it out with skip_invalid=True',
            'leave it out with --skip-invalid',
        ),
        ('(copy=True)', '(--copy)'),
        ('skip_invalid=False', 'skip_invalid=False'),
        ('go without by pictures=False', 'go without by --bare'),
        ('pictures=True', 'pictures=True'),
        ('choose another out_dir', 'choose another --out-dir'),
        ('Choose an out_dir.', 'Choose an --out-dir.'),
        ("out_dir='a b': full", "--out-dir 'a b': full"),
        ("out_dir='ab': full", '--out-dir ab: full'),
        ('out_dir=/a/out_dir: full', '--out-dir /a/out_dir: full'),
        ("metrics=['mIoU', 'x']: no", '--eval mIoU x: no'),
        ('metrics=[x]: no', '--eval [x]: no'),
        ("versions=['v 1']", "--versions 'v 1'"),
        ('skip_invalid and out_dir', '--skip-invalid and --out-dir'),
        ('data_roots=[]: none', 'DATA_ROOT: none'),
        ('the data_roots are one', 'the DATA_ROOT are one'),
        ('ann_file=x.json', 'ann_file x.json'),
        *(
            (text, text)
            for text in (
                'num, copy and metrics are words',
                'a copy of num: expected',
                '/data/out_dir and out_dir/x.png',
                'out_dir.json, x.out_dir and my_out_dir',
                "KeyError: 'out_dir'",
                'a.num=3 and spam_num=3',
                'a-num=3',
                r'C:\out_dir\x',
                'use --out-dir or --num',
                'other_name=3',
                'in \'/a b/num=3 c\' and "/a num=3"',
            )
        ),
    ],
)
def test_flags_in_the_place_of_arguments(parser, text, expected):
    assert cli.name_flags(text, parser) == expected


def test_paths_with_blanks_stay(parser, tmp_path, monkeypatch):
    folder = tmp_path / 'a num=1'
    folder.mkdir()
    (folder / 'b num=2.json').touch()
    (tmp_path / 'my out_dir is').touch()
    monkeypatch.chdir(tmp_path)
    for path in (
        folder,
        folder / 'gone.json',
        folder / 'b num=2.json',
        folder / 'b num=2.json' / 'c',
        tmp_path / 'my out_dir is',
        'a num=1/x',
    ):
        text = f'num=3: {path} or {path}, {path}: see num=4'
        expected = f'--num 3: {path} or {path}, {path}: see --num 4'
        assert cli.name_flags(text, parser) == expected
    # What is not there may have been typed.
    gone = '/gone/a num=1 b'
    text = f'out_dir={gone}: {gone} and num=1'
    for given in (gone, Path(gone), ['x', gone]):
        shown = cli.name_flags(text, parser, [None, 3, given])
        assert shown == f'--out-dir {gone}: {gone} and --num 1'


def test_flags_of_subcommands(parser):
    outer = cli.make_parser('')
    commands = outer.add_subparsers(dest='format')
    commands.add_parser('inner', parents=[parser], add_help=False)
    text = 'num=3, out_dir, format=x'
    assert cli.name_flags(text, outer) == '--num 3, --out-dir, format x'


def launch(*argv):
    """Return the arguments that a function gets."""
    parser = cli.make_launch_parser('', '')
    options = vars(parser.parse_args(['c.py', *argv]))
    return cli.launch(parser, 'builtins:dict', **options)


def test_only_errors_before_the_run_are_one_line(
    capsys, monkeypatch, tmp_path
):
    (tmp_path / 'fails.py').write_text(
        'from mmseg_ext.launch.runs import LaunchError\n'
        'def before(**options):\n'
        "    raise LaunchError('cfg_options do not fit work_dir=a')\n"
        'def within(**options):\n'
        "    raise ValueError('loss')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'fails', raising=False)
    parser = cli.make_launch_parser('', '')
    options = vars(parser.parse_args(['c.py']))
    message = error_of(
        capsys, partial(cli.launch, parser, 'fails:before', **options)
    )
    assert message == '--cfg-options do not fit --work-dir a'
    with pytest.raises(ValueError, match=r'^loss$'):
        cli.launch(parser, 'fails:within', **options)


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
        pytest.param(['--cfg-options', 'a=b=c', 'd=x', '=1'], id='odd'),
        pytest.param(
            ['--cfg-options', 'a=1', 'b=2', '--cfg-options', 'b=3', 'c=4'],
            id='twice',
        ),
    ],
)
def test_options_are_those_of_mmengine(argv):
    """But for blanks in texts."""
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


#: A tool whose function gets a signal, and a module that does on import.
STOPPED = """
import os, signal, sys, time
import mmseg_ext_cli as cli

def wait():
    print('waits', flush=True)
    try:
        os.kill(os.getpid(), {number})
        time.sleep(600)
    finally:
        {cleaning}
        print('cleaned')

def run(resume=None, launcher='none'):
    wait()

if __name__ == '__main__':
    parser = cli.make_parser('')
    parser.prog = 'tool.py'
    if 'import' in sys.argv:
        cli.load('stopped_on_import:name')
    cli.call(parser, run{options})
"""


#: A tool that gets a signal where Python only tells of exceptions.
FORKS = """
import os, time
import mmseg_ext_cli as cli

def stop():
    os.kill(os.getpid(), {number})
    time.sleep(0.1)

def run():
    os.register_at_fork(before=stop)
    try:
        if not os.fork():
            os._exit(0)
        time.sleep(600)
    finally:
        print('cleaned')

if __name__ == '__main__':
    parser = cli.make_parser('')
    parser.prog = 'tool.py'
    cli.call(parser, run)
"""


def stop(
    tmp_path,
    number,
    *argv,
    text=STOPPED,
    cleaning='pass',
    options='',
    before=None,
):
    """Run the tool; return its status and what it said."""
    text = text.format(number=number, cleaning=cleaning, options=options)
    (tmp_path / 'tool.py').write_text(text)
    (tmp_path / 'stopped_on_import.py').write_text(
        f'import os, signal\nos.kill(os.getpid(), {number})\nname = print\n'
    )
    done = subprocess.run(
        [sys.executable, tmp_path / 'tool.py', *argv],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=before,
        env={**os.environ, 'PYTHONPATH': str(Path(cli.__file__).parent)},
    )
    return done.returncode, done.stdout.split(), done.stderr


GOES_ON = 'tool.py: stopped; the same command goes on\n'
RESUMES = 'tool.py: stopped; the same command with --resume goes on\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_tool_cleans_up_and_says_a_line(tmp_path, number):
    status = 128 + number
    done = stop(tmp_path, int(number))
    assert done == (status, ['waits', 'cleaned'], GOES_ON)
    # Imports are not to be disturbed, and nothing was done yet.
    assert stop(tmp_path, int(number), 'import') == (status, [], GOES_ON)


def test_a_second_signal_waits_for_nothing(tmp_path):
    again = f'os.kill(os.getpid(), {int(signal.SIGTERM)}); time.sleep(600)'
    done = stop(tmp_path, int(signal.SIGINT), cleaning=again)
    assert done == (143, ['waits'], GOES_ON)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_where_nothing_can_be_raised(tmp_path, number):
    """Such as before a process is forked: it is raised when it can be."""
    done = stop(tmp_path, int(number), text=FORKS)
    assert done == (128 + number, ['cleaned'], GOES_ON)


def test_a_training_goes_on_with_resume(tmp_path):
    for resume, line in ((None, RESUMES), ('auto', GOES_ON)):
        options = f', resume={resume!r}'
        done = stop(tmp_path, int(signal.SIGINT), options=options)
        assert done == (130, ['waits', 'cleaned'], line)


@pytest.mark.parametrize(
    ('anew', 'options'), [(True, {}), (False, {'launcher': 'none'})]
)
def test_some_tools_begin_anew(capsys, anew, options):
    """What has nothing to go on with, such as a test."""

    def stopped(**_):
        raise KeyboardInterrupt

    parser = cli.make_parser('', anew=anew)
    with pytest.raises(SystemExit, match=r'^130$'):
        cli.call(parser, stopped, **options)
    line = f'{parser.prog}: stopped; the same command begins anew\n'
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            FileNotFoundError(2, 'No such file', 'x.csv'),
            "No such file: 'x.csv'",
        ),
        (ValueError('a\0b\x1b[1m is\nno name'), 'a\\x00b\\x1b[1m is no name'),
    ],
)
def test_errors_are_plain_text(capsys, error, line):
    """Without numbers of the system, and signs that a terminal obeys."""

    def broken():
        raise error

    parser = cli.make_parser('')
    with pytest.raises(SystemExit, match=r'^2$'):
        cli.call(parser, broken)
    assert capsys.readouterr().err == f'{parser.prog}: error: {line}\n'


def test_ranks_do_not_handle_what_their_launcher_sends(tmp_path):
    options = ", launcher='pytorch'"
    done = stop(tmp_path, int(signal.SIGTERM), options=options)
    assert done == (-signal.SIGTERM, ['waits'], '')


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    def nohup():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    ends = f'{int(signal.SIGINT)}); signal.alarm(1'
    done = stop(tmp_path, ends, before=nohup)
    assert done == (-signal.SIGALRM, ['waits'], '')


def test_handlers_are_those_of_before(parser):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    during = cli.call(parser, signal.getsignal, signal.SIGTERM)
    assert during not in before
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


def test_other_threads_call_too(parser):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(cli.call(parser, 'builtins:int', '7'))
    )
    thread.start()
    thread.join()
    assert results == [7]
