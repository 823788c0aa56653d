"""The front of all command lines: parse, then import, then call.

``import mmseg_ext`` imports PyTorch and OpenMMLab, which takes seconds that
neither help nor a wrong argument needs. So this module lies beside the package
and not in it, and imports the standard library alone. A tool is::

    parser = make_parser(__doc__)
    parser.add_argument(
        '--segmentation',
        choices=constant('mmseg_ext.converters.nails:SEGMENTATIONS'),
    )
    options = vars(parser.parse_args(argv))
    report = call('mmseg_ext.converters.nails:convert', **options)
"""

import argparse
import ast
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    'PASSIVE',
    'call',
    'constant',
    'launch',
    'load',
    'make_launch_parser',
    'make_parser',
    'read_constant',
    'wait_passively',
]

#: Threads of OpenMP that wait sleep at once, and those of GCC's OpenMP, which
#: PyTorch's builds for Linux have, after so many turns: enough that nothing
#: is lost on idle cores (``benchmarks/waiting.py``).
PASSIVE = {'OMP_WAIT_POLICY': 'PASSIVE', 'GOMP_SPINCOUNT': '5000'}

#: By any of these a user says how they wait.
_WAIT_SETTINGS = (*PASSIVE, 'KMP_BLOCKTIME', 'KMP_LIBRARY')


def wait_passively() -> None:
    """Let PyTorch's threads sleep while they wait, and those of subprocesses.

    By default they spin for long. When other programs keep the cores busy, a
    thread that spins holds the core that the one it waits for needs, and
    training on the CPU gets slower many times over. OpenMP reads its settings
    once, when PyTorch is imported, so this has to come first. A user's own
    setting stays.
    """
    if not any(name in os.environ for name in _WAIT_SETTINGS):
        os.environ.update(PASSIVE)


def make_parser(
    description: str, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser that keeps texts as they are laid out.

    Args:
        description: What the tool does, usually its docstring.
        epilog: Examples.
    """
    return argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def constant(target: str) -> Any:
    """Return a constant of the package, read and not imported.

    What help and choices name thus stands once, where the library uses it.

    Args:
        target: ``'mmseg_ext.module:NAME'``; see :func:`read_constant`.

    Raises:
        LookupError: There is no such constant.
        OSError: There is no such module.
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
        the tuple of its keys.

    Raises:
        LookupError: There is no such assignment.
        OSError: The file cannot be read.
        ValueError: What is assigned is no literal.
    """
    for node in ast.parse(path.read_bytes(), str(path)).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)]) if found == name:
                if isinstance(node.value, ast.Dict):
                    return tuple(map(ast.literal_eval, node.value.keys))
                return ast.literal_eval(node.value)
    raise LookupError(f'{path} assigns nothing to {name}')


def load(target: str) -> Any:
    """Import a module and return one of its names.

    Args:
        target: ``'package.module:name'``.
    """
    wait_passively()
    module, _, name = target.partition(':')
    return getattr(importlib.import_module(module), name)


def call(target: str, /, *args: Any, **options: Any) -> Any:
    """Import a function, call it and return what it returns.

    Args:
        target: As for :func:`load`.
        *args: Arguments of the function.
        **options: Arguments of the function, such as the parsed ones.

    Raises:
        SystemExit: The function raised OSError or ValueError: what it was
            given does not do. The message is one line, the status 1.
    """
    function = load(target)
    try:
        return function(*args, **options)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def make_launch_parser(
    description: str, epilog: str
) -> argparse.ArgumentParser:
    """Return a parser with what training and test have in common.

    Args:
        description: What the tool does.
        epilog: Examples.
    """
    parser = make_parser(description, epilog)
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=_key_value,
        metavar='KEY=VALUE',
        help='change entries of the config, such as '
        'test_dataloader.dataset.data_root=/data/camvid; lists are written '
        "key=1,2 or key='[(1,2),(3,4)]' without blanks, and key.0.x reaches "
        'into one',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', *constant('mmseg_ext.launch.runs:LAUNCHERS')),
        default='none',
        help='what started the processes of a distributed job (default: '
        '%(default)s)',
    )
    # torch.distributed.launch hands over one or the other.
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS
    )
    return parser


def _key_value(text: str) -> str:
    """Check a pair; mmengine makes values of the texts after the import."""
    if '=' not in text:
        raise argparse.ArgumentTypeError(
            f'expected KEY=VALUE pairs, got {text!r}'
        )
    return text


def launch(
    parser: argparse.ArgumentParser, target: str, options: Mapping[str, Any]
) -> Any:
    """Import a function that trains or tests, call it, return what it returns.

    Args:
        parser: Made by :func:`make_launch_parser`.
        target: As for :func:`load`.
        options: What the parser gave; arguments of the function, but for the
            local rank, which goes into the environment.

    Raises:
        SystemExit: The function raised ``LaunchError``, or a value of
            ``--cfg-options`` cannot be read. The status is 2, and the last
            line of standard error says why.
    """
    options = dict(options)
    local_rank = options.pop('local_rank')
    if local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(local_rank))
    parse_pairs = load('mmseg_ext.launch.runs:parse_pairs')
    try:
        options['cfg_options'] = parse_pairs(options['cfg_options'] or ())
    except ValueError as error:
        parser.error(f'argument --cfg-options: {error}')
    launch_error = load('mmseg_ext.launch.runs:LaunchError')
    try:
        return load(target)(**options)
    except launch_error as error:
        parser.exit(2, f'{parser.prog}: error: {error}\n')
