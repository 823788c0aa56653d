"""The front of all command lines: parse, then import, then call.

:func:`main` is the command ``mmseg-ext``. Each of its sub-commands is a tool,
a file of ``tools/``, which the package brings along; a new one is a line in
``COMMANDS``. Tools run by themselves, too, and by ``mim run mmseg_ext``.

``import mmseg_ext`` imports PyTorch and OpenMMLab, which takes seconds that
neither help nor a wrong argument needs. So this module lies beside the package
and not in it, and imports the standard library alone. A tool is::

    parser = make_parser(__doc__)
    parser.add_argument(
        '--segmentation',
        choices=constant('mmseg_ext.converters.nails:SEGMENTATIONS'),
    )
    options = vars(parser.parse_args(argv))
    report = call(parser, 'mmseg_ext.converters.nails:convert', **options)

What the user can mend, be it an argument or a file, ends in one line,
``PROG: error: ...``, on standard error, and the exit status 2. Ctrl-C ends in
one line as well, with the exit status 130, and SIGTERM with 143. A tool whose
output nobody reads any more, as with ``| head -1``, does the rest in silence;
one whose output cannot be written, as on a full disk, ends in one line.
"""

import argparse
import ast
import difflib
import errno
import importlib
import importlib.util
import io
import os
import re
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

__all__ = [
    'COMMANDS',
    'PASSIVE',
    'add_cfg_options',
    'add_converter_options',
    'add_model_and_images',
    'call',
    'constant',
    'launch',
    'load',
    'look_at',
    'look_at_masks',
    'main',
    'make_converter_parser',
    'make_launch_parser',
    'make_parser',
    'name_flags',
    'note',
    'read_constant',
    'spell',
    'tell_left_out',
    'tell_other_kinds',
    'tool_of',
    'wait_passively',
]

#: The commands of ``mmseg-ext``: each a file of ``tools/``, or a folder whose
#: files are commands after its name. Help lists them in this order, with the
#: first lines of their docstrings.
COMMANDS = {
    'init': 'init_config.py',
    'train': 'train.py',
    'test': 'test.py',
    'convert': 'dataset_converters',
    'sample': 'make_sample_data.py',
    'browse': 'browse.py',
    'doctor': 'doctor.py',
    'report': 'report.py',
    'compare': 'compare.py',
    'segment': 'segment.py',
    'predict-labels': 'predict_labels.py',
    'crop': 'crop_instances.py',
    'plot': 'analysis/plot_log.py',
    'class-weights': 'analysis/class_weights.py',
    'demo': 'demo.py',
}

#: What users type.
_SCRIPT = 'mmseg-ext'

#: Where the package has the tools once it is installed, as MIM wants it.
_INSTALLED = Path('mmseg_ext', '.mim', 'tools')

#: Settings of OpenMP with which threads that wait sleep soon. Those of GCC's
#: OpenMP, which PyTorch's builds for Linux have, do so after so many turns:
#: enough that nothing is lost on idle cores (``benchmarks/waiting.py``).
PASSIVE = {'OMP_WAIT_POLICY': 'PASSIVE', 'GOMP_SPINCOUNT': '5000'}

#: By any of these a user says how they wait.
_WAIT_SETTINGS = (*PASSIVE, 'KMP_BLOCKTIME', 'KMP_LIBRARY')

#: By one of these a process of a distributed job knows which one it is.
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')

#: Images that are enough for a first look: a few sheets.
_LOOKED_AT = 40

#: How long the other processes wait for the first to tell an error, in
#: seconds: longer than the starts of processes lie apart.
_PATIENCE = 10


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command of ``mmseg-ext``.

    Args:
        argv: The command and its arguments (default: those of the process).

    Raises:
        SystemExit: Help was asked for, with status 0, or there is no such
            command, with status 2, or the command ends in this way.
    """
    _steady_output()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ['help']:
        words = [*words[1:], '--help']
    files = _files()
    for command in (' '.join(words[:2]), ' '.join(words[:1])):
        if command in files:
            _run(command, words[len(command.split()) :])
            return
    group = words.pop(0) if words[:1] and words[0] in COMMANDS else ''
    if not words or words[0] in ('-h', '--help'):
        print(_help(group))
    elif words[0] == '--version' and not group:
        init = Path(__file__).parent / 'mmseg_ext' / '__init__.py'
        print(_SCRIPT, read_constant(init, '__version__'))
    else:
        sys.stderr.write(f'{_SCRIPT}: error: {_unknown(group, words)}\n')
        sys.exit(2)


class _Output(io.FileIO):
    """Standard output or error, which may lose its reader.

    What is written then goes nowhere, and the tool goes on: a training does
    not end because somebody looked at its first lines.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # Python writes again what is left when the process ends.
            with open(os.devnull, 'wb') as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            # A pipe, or a terminal that was closed.
            if error.errno in (errno.EPIPE, errno.EIO) or self.fileno() == 2:
                return len(data)
            prog = os.path.basename(sys.argv[0])
            sys.exit(
                f'{prog}: error: standard output cannot be written: '
                f'{error.strerror}'
            )


def _steady_output() -> None:
    """Make standard output and error those of :class:`_Output`."""
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        # Tests and notebooks have others.
        if type(stream) is not io.TextIOWrapper or (
            stream is not getattr(sys, f'__{name}__')
        ):
            continue
        raw = _Output(stream.fileno(), 'wb', closefd=False)
        steady = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            # Errors thus come out of what prints.
            line_buffering=True,
            write_through=stream.write_through,
        )
        stream.flush()
        setattr(sys, name, steady)


def _run(command: str, argv: Sequence[str]) -> None:
    """Call the tool of a command, which finds the command in its name."""
    before = sys.argv
    sys.argv = [f'{_SCRIPT} {command}', *argv]
    try:
        tool_of(command).main(sys.argv[1:])
    finally:
        sys.argv = before


def tool_of(command: str) -> ModuleType:
    """Load the file of a command.

    Args:
        command: Such as ``'plot'`` or ``'convert nails'``.

    Returns:
        A module with ``build_parser()`` and ``main(argv)``.
    """
    path = _folder() / _files()[command]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f'{path} cannot be loaded')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _folder() -> Path:
    """Return the folder of the tools: the package's, or that of a clone."""
    root = Path(__file__).parent
    installed = root / _INSTALLED
    return installed if installed.is_dir() else root / 'tools'


def _files() -> dict[str, str]:
    """Return the file of each command, relative to the folder of tools."""
    files = {}
    for name, file in COMMANDS.items():
        if file.endswith('.py'):
            files[name] = file
        else:
            for path in sorted((_folder() / file).glob('*.py')):
                files[f'{name} {path.stem}'] = f'{file}/{path.name}'
    return files


def _help(group: str) -> str:
    """Return what ``--help`` says of all commands, or of those of a group."""
    files = {
        name: file
        for name, file in _files().items()
        if name.startswith(f'{group} ' if group else '')
    }
    width = max(map(len, files))
    usage = f'{group} NAME' if group else 'COMMAND'
    lines = [f'usage: {_SCRIPT} {usage} ...', '']
    for name, file in files.items():
        tree = ast.parse((_folder() / file).read_bytes())
        first = (ast.get_docstring(tree) or '').partition('\n')[0]
        lines.append(f'  {name:{width}}  {first}')
    lines += ['', f'{_SCRIPT} {usage} --help says more about each.']
    if not group:
        lines.append(f'{_SCRIPT} --version prints the version.')
    return '\n'.join(lines)


def _unknown(group: str, words: Sequence[str]) -> str:
    """Return what is said of a command that there is not.

    Args:
        group: The first word, where it is a group.
        words: Those that follow.
    """
    word = words[0]
    there = f'there is no command {" ".join([group, word]).strip()!r}'
    later = next((name for name in words[1:] if name in COMMANDS), None)
    if word.startswith('-') and later and not group:
        return (
            f'{there}: the command comes first, {_SCRIPT} {later} {word} ...'
        )
    meant = {}
    for name, file in _files().items():
        # What a command is called, and what its tool is.
        for key in (name, name.rpartition(' ')[2], Path(file).stem):
            meant[key] = name
    close = difflib.get_close_matches(word.lower(), meant)
    names = dict.fromkeys(meant[key] for key in close)
    return there + (
        f'; did you mean {" or ".join(names)}?'
        if names
        else f'; {_SCRIPT} --help lists all'
    )


def spell(command: str, *arguments: object) -> str:
    """Return a command as a user has to type it, for hints of tools.

    Args:
        command: Such as ``'plot'`` or ``'convert nails'``; more words are
            arguments.
        *arguments: Arguments, which are quoted for a shell.

    Returns:
        ``mmseg-ext plot X``; ``python tools/analysis/plot_log.py X`` where the
        running tool was called in this way, and ``mim run mmseg_ext plot_log
        X`` where MIM called it.
    """
    files = _files()
    words = command.split()
    count = 2 if ' '.join(words[:2]) in files else 1
    name = ' '.join(words[:count])
    start = _called_as(files, name)
    rest = [*words[count:], *map(str, arguments)]
    return ' '.join([start, *map(shlex.quote, rest)])


def _called_as(files: dict[str, str], command: str) -> str:
    """Return how a command starts that is called as the running one was."""
    called = os.path.abspath(sys.argv[0])
    for file in files.values():
        if not called.endswith(os.sep + os.path.join('tools', file)):
            continue
        folder = called.removesuffix(file)
        if folder.endswith(f'{_INSTALLED}{os.sep}'):
            return f'mim run mmseg_ext {Path(files[command]).stem}'
        path = os.path.join(folder, files[command])
        if not os.path.isabs(sys.argv[0]):
            path = os.path.relpath(path)
        return f'python {shlex.quote(path)}'
    return f'{_SCRIPT} {command}'


def wait_passively() -> None:
    """Make PyTorch's threads sleep while they wait, and those of subprocesses.

    By default they spin for long. When other programs keep the cores busy, a
    thread that spins holds the core that the one it waits for needs, and
    training on the CPU gets slower many times over. OpenMP reads its settings
    once, when PyTorch is imported, so this has to come first. A user's own
    setting stays.
    """
    if not any(name in os.environ for name in _WAIT_SETTINGS):
        os.environ.update(PASSIVE)


class _Parser(argparse.ArgumentParser):
    """A parser of a tool.

    Attributes:
        anew: Whether the tool, called again after a stop, begins anew.
    """

    anew = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # By these argparse finds what reads texts and paths.
        self.register('type', None, _filled)
        self.register('type', Path, lambda text: Path(_filled(text)))


def _filled(text: str) -> str:
    """Refuse what is empty: as a path it would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError(
            'it is empty; is a variable of the shell not set?'
        )
    return text


def make_parser(
    description: str,
    epilog: str | None = None,
    kind: type[_Parser] = _Parser,
    anew: bool = False,
) -> argparse.ArgumentParser:
    """Return a parser that keeps texts as they are laid out.

    From here on standard output takes any name of a file: what it cannot
    write, such as bytes that are no text, is escaped, as on standard error.

    Args:
        description: What the tool does.
        epilog: What help says at its end.
        kind: The class of the parser.
        anew: Whether the tool begins anew when it is called again after it
            was stopped, instead of going on.
    """
    _steady_output()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    parser = kind(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.anew = anew
    return parser


def constant(target: str) -> Any:
    """Return a constant of the package, read and not imported.

    What help and choices name thus stands once, where the library uses it.

    Args:
        target: ``'mmseg_ext.module:NAME'``; see :func:`read_constant`.
    """
    module, _, name = target.partition(':')
    root = Path(__file__).parent
    path = root.joinpath(*module.split('.')).with_suffix('.py')
    return read_constant(path, name)


def read_constant(path: Path, name: str) -> Any:
    """Return what the source of a module or config assigns to a name.

    Args:
        path: The file.
        name: Assigned once, by itself, outside functions and classes.

    Returns:
        The value of the literal; of a dict, whose values may be anything,
        the tuple of the keys that stand in it.

    Raises:
        LookupError: There is no such assignment.
        OSError: The file cannot be read.
        ValueError: What is assigned is no literal.
    """
    for node in ast.parse(path.read_bytes(), str(path)).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)]) if found == name:
                if isinstance(node.value, ast.Dict):
                    keys = filter(None, node.value.keys)
                    return tuple(map(ast.literal_eval, keys))
                return ast.literal_eval(node.value)
    raise LookupError(f'{path} assigns nothing to {name}')


def load(target: str) -> Any:
    """Import a module and return a name of it, ``'package.module:name'``."""
    wait_passively()
    _hush()
    module, _, name = target.partition(':')
    with _Stop(os.path.basename(sys.argv[0]), at_once=True):
        return getattr(_import(module), name)


def _hush() -> None:
    """Leave out what upstream is known to warn of, from its import on."""
    # A user's own -W and PYTHONWARNINGS stay.
    if not sys.warnoptions and '--verbose' not in sys.argv:
        for text in constant('mmseg_ext.launch.noise:WARNED'):
            warnings.filterwarnings('ignore', re.escape(text))


def _import(module: str) -> ModuleType:
    """Import a module without what upstream is known to print meanwhile."""
    if '--verbose' in sys.argv or sys.stdout is None:
        return importlib.import_module(module)
    noise = constant('mmseg_ext.launch.noise:PRINTED')
    # The same object, which loggers that are made meanwhile keep.
    output: Any = sys.stdout
    write, skipped = output.write, False

    def write_others(text: str) -> int:
        nonlocal skipped
        # ``print`` writes the end of a line by itself.
        skipped = text.startswith(noise) or (skipped and text == '\n')
        return len(text) if skipped else write(text)

    output.write = write_others
    try:
        return importlib.import_module(module)
    finally:
        del output.write


def call(
    parser: argparse.ArgumentParser,
    target: str | Callable[..., Any],
    /,
    *args: Any,
    **options: Any,
) -> Any:
    """Import a function, call it and return what it returns.

    Args:
        parser: The one that read the command line.
        target: As for :func:`load`, or the function itself.
        *args: Arguments of the function.
        **options: Arguments of the function, such as the parsed ones.

    Raises:
        SystemExit: The function raised OSError or ValueError, since what the
            user gave is wrong. The status is 2, and the last line of standard
            error says why; see :func:`name_flags`. 130 or 143: it was
            stopped by Ctrl-C or SIGTERM.
    """
    return _call(parser, target, (OSError, ValueError), args, options)


def _call(
    parser: argparse.ArgumentParser,
    target: str | Callable[..., Any],
    mendable: type[Exception] | tuple[type[Exception], ...],
    args: Sequence[Any],
    options: dict[str, Any],
) -> Any:
    """Call a function and show errors that the user can mend in one line."""
    function = load(target) if isinstance(target, str) else target
    stop = _Stop(parser.prog)
    if options.get('launcher', 'none') != 'none':
        # A rank that waits for another would not come to the handler.
        stop.signals.remove(signal.SIGTERM)
    if not options.get('resume', True):
        stop.again = 'the same command with --resume goes on'
    # A test has no --resume.
    tests = 'launcher' in options and 'resume' not in options
    if tests or getattr(parser, 'anew', False):
        stop.again = 'the same command begins anew'
    with stop:
        try:
            return function(*args, **options)
        except mendable as error:
            status = 2
            text = _in_a_line(error) or type(error).__name__
            text = name_flags(text, parser, [*args, *options.values()])
            line = f'{parser.prog}: error: {text}\n'
        except KeyboardInterrupt:
            status, line = 128 + stop.number, stop.line
        except Exception:
            # Some code turns all that it catches into an error of its own.
            if not stop.at_once:
                raise
            status, line = 128 + stop.number, stop.line
    # Out here the frames of the function are gone, and a progress bar that
    # was one of its variables has ended its line.
    parser.exit(status, line)


def _in_a_line(error: Exception) -> str:
    """Return the text of an error in a line, without numbers of the system."""
    text = re.sub(r'^\[Errno \d+\] ', '', ' '.join(str(error).splitlines()))
    # Such as a NUL in a name.
    return re.sub(
        r'[\x00-\x1f\x7f-\x9f]', lambda sign: f'\\x{ord(sign[0]):02x}', text
    )


class _Stop:
    """Ends a tool in one line, and not in a traceback, on some signals.

    The first raises KeyboardInterrupt, so that the tool cleans up; a second
    waits for nothing. Signals that are ignored, as ``nohup`` does, stay so.

    Args:
        prog: Name of the tool.
        at_once: The first waits for nothing either. For imports, which may
            swallow exceptions and have nothing to clean up.
    """

    def __init__(self, prog: str, at_once: bool = False) -> None:
        self.prog, self.at_once = prog, at_once
        self.again = 'the same command goes on'
        self.signals = [signal.SIGINT, signal.SIGTERM]
        self.number = int(signal.SIGINT)
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}
        self._hook = sys.unraisablehook

    @property
    def line(self) -> str:
        return f'{self.prog}: stopped; {self.again}\n'

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable

    def __exit__(self, *error: object) -> None:
        sys.unraisablehook = self._hook
        if signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # Forked. Ctrl-C goes to all, and the first process ends the rest.
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
        elif self.at_once:
            os.write(2, self.line.encode())
            os._exit(128 + number)
        else:
            self.number, self.at_once = number, True
            raise KeyboardInterrupt

    def _unraisable(self, args: Any) -> None:
        """Raise again, soon, where an exception cannot be: as while forking.

        Python swallows it there and would go on.
        """
        if args.exc_type is not KeyboardInterrupt:
            self._hook(args)
        elif os.getpid() == self._process:
            self.at_once = False
            alarm = signal.signal(
                signal.SIGALRM, lambda *_: self._handle(self.number, None)
            )
            self._before.setdefault(signal.SIGALRM, alarm)
            signal.setitimer(signal.ITIMER_REAL, 0.05)


def name_flags(
    text: str, parser: argparse.ArgumentParser, given: Iterable[object] = ()
) -> str:
    """Replace the arguments that a text names by the flags of a parser.

    The library says what is wrong with its arguments as Python writes them;
    users of a tool have to see what they typed. So ``skip_invalid=True``
    becomes ``--skip-invalid``, ``nproc=0`` becomes ``--nproc 0``, and
    ``metrics=['mIoU', 'bbox']`` becomes ``--eval mIoU bbox``. Without a value
    only a name with an underscore is taken for an argument, ``out_dir`` for
    ``--out-dir``: others, such as ``copy``, may just be words. Positional
    arguments are named as in the usage.

    Args:
        text: An error of the library.
        parser: The arguments of the library are the ``dest`` of its actions,
            or of those of its subcommands.
        given: What the user typed, which stays as it is.

    Returns:
        The text with the flags. Quoted words and parts of paths, also of
        those with blanks in them, and of dotted names stay.
    """
    actions = {action.dest: action for action in _actions(parser)}
    names = '|'.join(map(re.escape, actions))
    # Without blanks it is no more than a word of the text.
    typed = [
        re.escape(str(value))
        for values in given
        for value in (values if isinstance(values, list) else [values])
        if ' ' in str(value)
    ]
    quoted = [r"(?<!\w)'[^']*'(?!\w)", r'(?<!\w)"[^"]*"(?!\w)']

    def flag(match: re.Match[str]) -> str:
        name, value = match['name'], match['value']
        if name is None or _in_path(text, match.start(), match.end('name')):
            return match[0]
        action = actions[name]
        if value is None and '_' not in name:
            return match[0]
        if (
            value is not None
            and action.nargs == 0
            and value != str(action.const)
        ):
            return match[0]
        shown = _shown(action)
        if value is None or action.nargs == 0:
            return shown
        return f'{shown} {_typed(value)}'.rstrip()

    return re.sub(
        rf"""{'|'.join([*typed, *quoted])}"""
        rf"""|(?<![\w.\\/='"-])(?P<name>{names})"""
        rf"""(?:=(?P<value>{'|'.join([*typed, ''])}"""
        r"""\[[^]]*\]|'[^']*'|"[^"]*"|[^\s,;:)]*)"""
        r"""|(?![\w\\/='"-]|\.\w))""",
        flag,
        text,
    )


def _in_path(text: str, start: int, end: int) -> bool:
    """Return whether a name in a text is part of a path that is there."""
    firsts = re.finditer(r'(?<![^\s=(])\S', text[:start])
    lasts = re.finditer(r'(?=[\s/\\,;:)]|$)', text)
    ends = [last.start() for last in lasts if last.start() >= end]
    return any(
        os.path.lexists(text[first.start() : last])
        for first in firsts
        for last in ends
    )


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the actions of a parser and of its subcommands."""
    # argparse keeps no public list.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _actions(subparser)
        yield action


def _shown(action: argparse.Action) -> str:
    """Return the long flag of an option, the name of a positional."""
    for flag in action.option_strings:
        if flag.startswith('--'):
            return flag
    return str(action.metavar or action.dest)


def _typed(value: str) -> str:
    """Return a value that Python wrote as one would type it in a shell."""
    try:
        literal = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value
    if isinstance(literal, list):
        return shlex.join(map(str, literal))
    return shlex.quote(literal) if isinstance(literal, str) else value


def make_converter_parser(
    description: str, data_root: str, out_dir: str
) -> argparse.ArgumentParser:
    """Return a parser with the folders of a converter.

    Args:
        description: What the tool does, usually its docstring.
        data_root: What the folder to read is.
        out_dir: What the folder to write is by default.
    """
    parser = make_parser(description)
    parser.add_argument(
        'data_root', type=Path, metavar='DATA_ROOT', help=data_root
    )
    parser.add_argument('--out-dir', type=Path, help=f'default: {out_dir}')
    return parser


def add_converter_options(
    parser: argparse.ArgumentParser, *names: str
) -> None:
    """Add the options that converters share, in their order.

    Args:
        parser: The parser of a converter.
        *names: ``'seed'`` and ``'overwrite'``, where it has them.
    """
    if 'seed' in names:
        parser.add_argument(
            '--seed',
            type=int,
            default=0,
            help='another seed divides or orders the images otherwise '
            '(default: %(default)s)',
        )
    parser.add_argument(
        '--nproc',
        type=int,
        default=1,
        help='number of processes (default: %(default)s)',
    )
    if 'overwrite' in names:
        parser.add_argument(
            '--overwrite',
            action='store_true',
            help='write again what is there already',
        )
    parser.add_argument(
        '--skip-invalid',
        action='store_true',
        help='leave out invalid files and list them in OUT_DIR/skipped.json, '
        'instead of stopping at the first',
    )
    parser.add_argument(
        '--no-progress',
        dest='progress',
        action='store_false',
        help='show no progress bar',
    )


def add_model_and_images(parser: argparse.ArgumentParser, config: str) -> None:
    """Add a config, its checkpoint and images, by their places.

    Args:
        parser: The parser.
        config: What the config is, for the help.
    """
    parser.add_argument(
        'config',
        help=f'{config}, or the name of one of the configs of mmseg_ext',
    )
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'images',
        nargs='+',
        type=Path,
        metavar='IMAGE',
        help='image files, or folders that are searched with all below',
    )


def note(line: str) -> None:
    """Tell something beside the results, on standard error."""
    shown = load('mmseg_ext.utils.text:printable')(line)
    print(f'note: {shown}', file=sys.stderr)


def tell_other_kinds(others: Mapping[str, int]) -> None:
    """Tell which pictures in the folders are of no kind that is read.

    Args:
        others: Their number by suffix.
    """
    if others:
        kinds = ', '.join(
            f'{n} {suffix}' for suffix, n in sorted(others.items())
        )
        print(
            f'left out pictures of kinds that are not read: {kinds}; convert '
            'them to .jpg or .png'
        )


def tell_left_out(
    parser: argparse.ArgumentParser,
    unreadable: Mapping[str, str],
    images: Sequence[Path],
) -> None:
    """Tell which images have no result, and end a tool if there are any.

    Args:
        parser: That of the tool.
        unreadable: Why an image has none, by its path.
        images: The images and folders, as the user gave them.

    Raises:
        SystemExit: There are images without a result; the status is 1.
    """
    if unreadable:
        for reason in unreadable.values():
            print(f'left out: {name_flags(reason, parser, images)}')
        parser.exit(
            1,
            f'{parser.prog}: error: images left out: {len(unreadable)}\n',
        )


def look_at(ann_file: Path, img_dir: Path) -> str:
    """Return a hint to look at the COCO file that a converter wrote.

    Args:
        ann_file: The COCO file.
        img_dir: What its file names are relative to.
    """
    return _look('browse', ann_file, '--img-dir', img_dir)


def look_at_masks(masks: Path, images: Path) -> str:
    """Return a hint to look at the label maps that a converter wrote.

    Args:
        masks: Their folder.
        images: Folder of their images.
    """
    return _look('browse', images, '--masks', masks)


def _look(*arguments: str | Path) -> str:
    """Return a hint to look at some of what was written."""
    command = spell(*map(str, arguments), '--num', _LOOKED_AT)
    return f'next: {command}  # look before you train'


class _LaunchParser(_Parser):
    """A parser whose errors one process of a distributed job tells."""

    def error(self, message: str) -> NoReturn:
        """Stop with the usage and an error."""
        text = f'{self.format_usage()}{self.prog}: error: {message}\n'
        self.exit(2, text)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Stop with a status and say why."""
        if status:
            _let_the_first_speak()
        super().exit(status, message)


def _let_the_first_speak() -> None:
    """Wait in each process of a job but the first, before an error is shown.

    All of them meet most errors, and when the first one ends with it, what
    started them ends the others. What it did not meet is told by another one
    a little later.
    """
    launched = any(arg.startswith('--launcher') for arg in sys.argv)
    if launched and any(os.environ.get(name, '0') != '0' for name in _RANKS):
        time.sleep(_PATIENCE)


def make_launch_parser(
    description: str, epilog: str
) -> argparse.ArgumentParser:
    """Return a parser with what training and test have in common."""
    parser = make_parser(description, epilog, _LaunchParser)
    parser.add_argument(
        'config',
        help='config file, or the name of one of the configs of mmseg_ext',
    )
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='folder for logs, checkpoints and scores (default: work_dir of '
        'the config, else ./work_dirs/<name of the config>)',
    )
    add_cfg_options(parser, 'test_dataloader.dataset.data_root=/data/camvid')
    parser.add_argument(
        '--launcher',
        choices=('none', *constant('mmseg_ext.launch.distributed:LAUNCHERS')),
        default='none',
        help='what started the processes of a distributed job (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--verbose',
        action='store_true',
        help='show all that is logged, with the whole config, and no line of '
        'progress; the log file has it in any case',
    )
    # torch.distributed.launch hands over one or the other.
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS
    )
    return parser


def add_cfg_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the option that changes entries of a config.

    Args:
        parser: The parser.
        example: A pair, for the help.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=_key_value,
        metavar='KEY=VALUE',
        help=f'change entries of the config, such as {example}; lists are '
        "written key=1,2 or key='[(1,2),(3,4)]' without blanks, and key.0.x "
        'reaches into one; a key that the config does not have is added, and '
        'the log warns of it',
    )


def _key_value(text: str) -> str:
    """Check a pair; mmengine makes values of the texts after the import."""
    if '=' not in text:
        raise argparse.ArgumentTypeError(
            f'expected KEY=VALUE pairs, got {text!r}'
        )
    return text


def launch(
    parser: argparse.ArgumentParser, target: str, /, **options: Any
) -> Any:
    """Import a function that trains or tests, call it, return what it returns.

    Args:
        parser: Made by :func:`make_launch_parser`.
        target: As for :func:`load`.
        **options: What the parser gave; arguments of the function, but for
            the local rank, which goes into the environment.

    Raises:
        SystemExit: As with :func:`call`, but for ``LaunchError``, which is
            raised before the run begins, or for a value of ``--cfg-options``
            that cannot be read. Any other error, such as one in the middle of
            a training, keeps its traceback.
    """
    local_rank = options.pop('local_rank')
    if local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(local_rank))
    parse_pairs = load('mmseg_ext.launch.configs:parse_pairs')
    try:
        options['cfg_options'] = parse_pairs(options['cfg_options'] or ())
    except ValueError as error:
        parser.error(f'argument --cfg-options: {error}')
    launch_error = load('mmseg_ext.launch.runs:LaunchError')
    try:
        return _call(parser, target, launch_error, (), options)
    except Exception:
        _let_the_first_speak()
        raise


if __name__ == '__main__':
    # With -m, Python looks for modules in the current folder first, where
    # mmseg_ext/ may be anything.
    if Path(sys.path[0]).resolve() == Path.cwd() != Path(__file__).parent:
        del sys.path[0]
    # This is another copy than the one that the tools import.
    importlib.import_module('mmseg_ext_cli').main()
