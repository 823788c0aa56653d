"""MMCV's compiled ops: from its sdist to a wheel that is kept.

Compiled file by file, the ops take 10 to 20 minutes on two cores, nearly all
of it spent on reading PyTorch's headers again for each of them. Here files
that lie in one folder are compiled together, as parts of a few large units,
and nothing else of what they are compiled with changes, but that debug
information is left out.
"""

import fcntl
import gzip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from steps import InstallError, output_of, say

__all__ = [
    'Machine',
    'alone_in',
    'build_jobs',
    'build_variables',
    'build_wheel',
    'check_compiler',
    'check_space',
    'fetch_sdist',
    'follow_build',
    'make_units',
    'mend_setup',
    'requirement_name',
    'store_folder',
    'wheel_key',
]

#: Where MMCV's ``setup.py`` looks for sources, and for which.
SOURCES = Path('mmcv', 'ops', 'csrc', 'pytorch')
PATTERNS = ('*.cpp', 'cpu/*.cpp', 'cuda/*.cu')

#: Files that cannot share a unit with others, by what stands in the way: they
#: define it each in their own way, or for all that follows.
ALONE = {
    'PreCalc and bilinear_interpolate': (
        'cpu/roi_align.cpp',
        'cpu/roi_align_rotated.cpp',
        'cpu/rotated_feature_align.cpp',
    ),
    'the macros min and max': ('cpu/psamask.cpp',),
    'Point': (
        'cuda/box_iou_rotated_cuda.cu',
        'cuda/convex_iou.cu',
        'cuda/iou3d_cuda.cu',
        'cuda/min_area_polygons.cu',
    ),
    'InternalType': (
        'cuda/bias_act_cuda.cu',
        'cuda/filtered_lrelu.cu',
        'cuda/upfirdn2d_kernel.cu',
    ),
    'divideUP': (
        'cuda/box_iou_quadri_cuda.cu',
        'cuda/carafe_cuda.cu',
        'cuda/nms_quadri_cuda.cu',
        'cuda/nms_rotated_cuda.cu',
    ),
    'Loc2Index': ('cuda/carafe_naive_cuda.cu',),
    'the macros FULL_MASK, WARP_SIZE and MAX_SHARED_SCALAR_T': (
        'cuda/chamfer_distance_cuda.cu',
        'cuda/correlation_cuda.cu',
    ),
    'lidar_to_local_coords': (
        'cuda/points_in_boxes_cuda.cu',
        'cuda/roiaware_pool3d_cuda.cu',
        'cuda/roipoint_pool3d_cuda.cu',
    ),
    'the macro DECLARE_GPU_SPECS': (
        'cuda/sparse_maxpool.cu',
        'cuda/sparse_reordering.cu',
    ),
    'the macro DIVUP': ('cuda/stack_ball_query_cuda.cu',),
}

#: Most files of a unit, by suffix. It bounds the memory of a compiler.
UNIT_SIZE = {'.cpp': 29, '.cu': 8}

#: Suffix of a file that is part of a unit: none that ``setup.py`` looks for.
PART = '.part'

#: Memory that one compiler process takes at its peak, in bytes.
JOB_MEMORY = 2.5e9

#: Room that a build takes, in bytes.
BUILD_SPACE = {'cpu': 0.3e9, 'cuda': 2e9}

#: The line of MMCV 2.1's ``setup.py`` that fails since Python 3.13, where
#: ``exec`` no longer writes to what ``locals()`` returns, and what mends it.
VERSION_LINE = "        exec(compile(f.read(), version_file, 'exec'))\n"
MENDED_LINE = (
    "        exec(compile(f.read(), version_file, 'exec'), found := {}); "
    "__version__ = found['__version__']\n"
)

#: How ninja counts its steps, in pip's indented output.
NINJA_STEP = re.compile(r'\s*\[(\d+)/(\d+)\] ')

#: How ninja names what did not compile.
NINJA_FAILURE = re.compile(
    r'\s*FAILED: .*?/csrc/pytorch/((?:\w+/)?unit_\d+)\.(?:cuda\.)?o\b'
)

#: What the lines have in common that say why a build failed.
ERROR = re.compile(r'(error|failed|killed)\b', re.IGNORECASE)

#: pip says this once a build has failed; only its own words follow.
PIP_SUMS_UP = 'error: subprocess-exited-with-error'

NO_SPACE = 'No space left on device'


class Machine(NamedTuple):
    """What decides how MMCV's ops are built.

    Attributes:
        torch: PyTorch's version with its local tag, ``'2.13.0+cpu'``.
        torch_cuda: The CUDA release it is built for, ``''`` for a CPU build.
        has_gpu: Whether the driver lists a GPU, or the user asks for CUDA.
        capabilities: Compute capabilities to build for, sorted: ``('8.0',
            '9.0')``; those of the GPUs that PyTorch can use.
        nvcc: CUDA release of the compiler, ``''`` without one.
    """

    torch: str
    torch_cuda: str = ''
    has_gpu: bool = False
    capabilities: tuple[str, ...] = ()
    nvcc: str = ''


def wheel_key(machine: Machine, ops: str) -> str:
    """Return what a wheel of MMCV is good for, as a folder name."""
    if ops == 'cpu':
        return f'{machine.torch}-cpu'
    cuda = machine.torch_cuda.replace('.', '')
    chips = ''.join(
        f'-sm{capability.replace(".", "")}'
        for capability in machine.capabilities
    )
    return f'{machine.torch}-cu{cuda}{chips}'


def store_folder(machine: Machine, ops: str) -> Path:
    """Return the folder in which such wheels are kept."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    store = Path(cache, 'mmseg_ext', 'wheels').absolute()
    return store / wheel_key(machine, ops)


def build_jobs(cores: int, memory: float) -> int:
    """Return how many compilers may run at once.

    Args:
        cores: Number of usable cores.
        memory: Free memory in bytes.
    """
    return max(1, min(cores, int(memory // JOB_MEMORY)))


def build_variables(
    machine: Machine, ops: str, jobs: int, cuda_home: Path | None = None
) -> dict[str, str]:
    """Return the environment variables that make MMCV build the chosen ops.

    Args:
        machine: What to build for.
        ops: ``'cuda'`` or ``'cpu'``.
        jobs: Compilers at once, unless the user says it.
        cuda_home: The CUDA toolkit, where PyTorch would not find it.

    Raises:
        InstallError: ``MAX_JOBS`` is no number of compilers.
    """
    variables = {
        'MMCV_WITH_OPS': '1',
        'PYTHONUNBUFFERED': '1',
        'MAX_JOBS': _max_jobs(jobs),
        # The environment is not activated, and its ninja not found: PyTorch
        # would compile one file after the other.
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}'
        f'{os.environ.get("PATH", os.defpath)}',
        'CFLAGS': _flags('CFLAGS'),
    }
    if 'CXXFLAGS' in os.environ:
        variables['CXXFLAGS'] = _flags('CXXFLAGS')
    if ops == 'cuda':
        variables['FORCE_CUDA'] = '1'
        variables['TORCH_CUDA_ARCH_LIST'] = ';'.join(machine.capabilities)
        if cuda_home:
            variables['CUDA_HOME'] = str(cuda_home)
    else:
        # MMCV builds for CUDA as soon as PyTorch sees a GPU.
        variables['FORCE_CUDA'] = '0'
        variables['CUDA_VISIBLE_DEVICES'] = ''
    return variables


def _max_jobs(jobs: int) -> str:
    """Return how many compilers the user allows, or our own number."""
    text = os.environ.get('MAX_JOBS') or str(jobs)
    # Of anything else ninja makes as many as it likes.
    if not text.isdecimal() or int(text) < 1:
        raise InstallError(
            f'MAX_JOBS={text}: expected the number of compilers at once, 1 or '
            'more'
        )
    return text


def _flags(name: str) -> str:
    """Return the compiler's flags: Python's, the user's, no debugging.

    What the variable says takes the place of Python's own flags, among them
    the optimization and ``-DNDEBUG``, without which MMCV's ops abort. -g0
    undoes Python's -g; it halves the time.
    """
    own = sysconfig.get_config_var('CFLAGS') or ''
    return ' '.join([*own.split(), *os.environ.get(name, '').split(), '-g0'])


def check_compiler() -> None:
    """Check for a C++ compiler that works and for Python's headers.

    Raises:
        InstallError: One of them is missing.
    """
    compiler = os.environ.get('CXX') or 'c++'
    if not output_of(*compiler.split(), '--version'):
        raise InstallError(
            f"no C++ compiler ({compiler}) to build MMCV's ops with. Debian, "
            'Ubuntu: apt-get install build-essential'
        )
    header = Path(sysconfig.get_path('include'), 'Python.h')
    if not header.exists():
        version = '{}.{}'.format(*sys.version_info)
        raise InstallError(
            f"no {header} to build MMCV's ops with. Debian, Ubuntu: apt-get "
            f'install python{version}-dev'
        )


def check_space(folder: Path, ops: str) -> None:
    """Check that a build has room.

    Args:
        folder: Where it takes place.
        ops: ``'cuda'`` or ``'cpu'``.

    Raises:
        InstallError: It has not.
    """
    needed = BUILD_SPACE[ops]
    # Compilers and pip have their own files in the latter.
    for place, variable in (
        (folder, 'XDG_CACHE_HOME'),
        (tempfile.gettempdir(), 'TMPDIR'),
    ):
        free = shutil.disk_usage(place).free
        if free < needed:
            raise InstallError(
                f"building MMCV's ops takes {needed / 1e9:.1f} GB in {place}, "
                f'where {free / 1e9:.1f} GB are free. Make room, or choose a '
                f'folder on another disk: {variable}=...'
            )


def requirement_name(requirement: str) -> str:
    """Return the distribution that a requirement such as ``a>=1`` names."""
    return re.match(r'[\w.-]+', requirement)[0]


def fetch_sdist(requirement: str, folder: Path) -> Path:
    """Download MMCV's sources and unpack them.

    pip finds the release, and checks the file against the hash that the index
    has for it. Nothing of the sources is run.

    Args:
        requirement: Name and range, as pip takes them.
        folder: Gets the archive and, beside it, what it holds.

    Returns:
        The unpacked folder.

    Raises:
        InstallError: There is no such release, or the file is damaged.
    """
    name = requirement_name(requirement)
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'pip', 'download', '--no-deps'),
            *('--no-build-isolation', '--use-pep517', '--no-cache-dir'),
            *('--disable-pip-version-check', '--no-binary', name),
            *('--dest', str(folder), requirement),
        ],
        # Where it says how pip is kept from running the setup.py.
        env={**os.environ, 'PYTHONPATH': str(_here() / 'fetch_only')},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors='replace',
    )
    archives = list(folder.glob('*.tar.gz'))
    if done.returncode or not archives:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InstallError(
            f'pip could not fetch the sources of {requirement}:\n'
            + '\n'.join(lines[-4:])
        )
    return _unpack(archives[0])


def _here() -> Path:
    return Path(__file__).resolve().parent


def _unpack(archive: Path) -> Path:
    """Unpack an sdist beside itself; return the folder that it holds."""
    folder = archive.with_name(archive.name.removesuffix('.tar.gz'))
    try:
        # To its end, where the check sum is; tarfile stops before.
        with gzip.open(archive) as packed:
            while packed.read(1 << 20):
                pass
        with tarfile.open(archive) as sources:
            # No paths or links that lead out of the folder. Early patch
            # releases of Python 3.10 and 3.11 know no filter.
            safe = (
                {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
            )
            sources.extractall(archive.parent, **safe)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise InstallError(
            f'{archive.name} cannot be unpacked ({error}); the download is '
            'damaged or the disk is full: run the same command again'
        ) from error
    if not (folder / SOURCES).is_dir():
        raise InstallError(
            f'{archive.name} holds no {folder.name / SOURCES}: expected '
            "MMCV's sdist; check the package index that pip uses"
        )
    return folder


def mend_setup(tree: Path) -> None:
    """Make the ``setup.py`` of MMCV 2.1 run on Python 3.13 and newer.

    Args:
        tree: Unpacked sdist; other releases are left as they are.
    """
    setup = tree / 'setup.py'
    text = setup.read_text('utf-8')
    setup.write_text(text.replace(VERSION_LINE, MENDED_LINE), 'utf-8')


def make_units(tree: Path) -> dict[str, list[Path]]:
    """Let the sources of each folder be compiled in a few units.

    A unit is a new file that includes its parts. These are renamed, so that
    ``setup.py`` finds units in their place.

    Args:
        tree: Unpacked sdist.

    Returns:
        The parts of each unit, by its path below the sources, without suffix:
        ``'cpu/unit_1'``.
    """
    root = tree / SOURCES
    alone = {root / name for names in ALONE.values() for name in names}
    units = {}
    for pattern in PATTERNS:
        files = sorted(set(root.glob(pattern)) - alone)
        count = -(-len(files) // UNIT_SIZE[Path(pattern).suffix])
        for number in range(count):
            # Every so-maniest, so that the large files are spread.
            shared = files[number::count]
            if len(shared) > 1:
                unit = shared[0].with_stem(f'unit_{number + 1}')
                key = str(unit.relative_to(root).with_suffix(''))
                units[key] = [_make_part(file) for file in shared]
                _write_unit(unit, units[key])
    return units


def _make_part(file: Path) -> Path:
    return file.rename(file.with_name(file.name + PART))


def _write_unit(unit: Path, parts: Iterable[Path]) -> None:
    unit.write_text(''.join(f'#include "{part.name}"\n' for part in parts))


def dissolve_unit(tree: Path, key: str, parts: Iterable[Path]) -> None:
    """Undo a unit: its files will be compiled one by one.

    Args:
        tree: Unpacked sdist.
        key: The unit's name, as :func:`make_units` returns it.
        parts: Its parts.
    """
    for part in parts:
        file = part.rename(part.with_name(part.name.removesuffix(PART)))
    (tree / SOURCES / key).with_suffix(file.suffix).unlink()


def build_wheel(
    requirement: str,
    folder: Path,
    variables: Mapping[str, str],
    log: Path,
    show: Callable[[int, int], None],
) -> None:
    """Build a wheel of MMCV and put it into a folder once it is whole.

    Only one process builds into a folder; what a killed one left is removed.

    Args:
        requirement: Name and range of MMCV, as pip takes them.
        folder: Where the wheel goes.
        variables: Environment variables of the build.
        log: Gets all that the build says.
        show: Called with the steps done and their total.

    Raises:
        InstallError: The sources cannot be had, or do not compile.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix='.building-') as part:
        tree = fetch_sdist(requirement, Path(part))
        mend_setup(tree)
        units = make_units(tree)
        wheels = Path(part, 'wheels')
        with log.open('w') as out:
            while True:
                code, why, failed = _run_build(
                    tree, wheels, variables, out, show
                )
                failed = failed & units.keys()
                if not code or not failed or NO_SPACE in ''.join(why):
                    break
                for key in sorted(failed):
                    say(f'  {key} does not compile; one file at a time then')
                    dissolve_unit(tree, key, units.pop(key))
        made = list(wheels.glob('*.whl'))
        if code or not made:
            raise InstallError(
                f'building mmcv failed, {log} has it all:\n' + ''.join(why)
            )
        made[0].replace(folder / made[0].name)


def _run_build(
    tree: Path,
    wheels: Path,
    variables: Mapping[str, str],
    log: TextIO,
    show: Callable[[int, int], None],
) -> tuple[int, list[str], set[str]]:
    """Run pip's build once. What was compiled before is not compiled again.

    Returns:
        Exit status, why it failed, and the units that did not compile.
    """
    build = subprocess.Popen(
        build_command(tree, wheels),
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    )
    with build:
        why, failed = follow_build(build.stdout, log, show)
    return build.returncode, why, failed


def build_command(tree: Path, folder: Path) -> list[str]:
    """Return the command that builds a wheel from a tree into a folder."""
    return [
        *(sys.executable, '-m', 'pip', 'wheel', '--verbose', '--no-deps'),
        *('--no-build-isolation', '--no-cache-dir'),
        *('--disable-pip-version-check', '--wheel-dir', str(folder)),
        str(tree),
    ]


def follow_build(
    lines: Iterable[str], log: TextIO, show: Callable[[int, int], None]
) -> tuple[list[str], set[str]]:
    """Copy a build's output to its log and show how far it is.

    Args:
        lines: The output, as it comes.
        log: Gets every line.
        show: Called with the steps done and their total.

    Returns:
        The last lines that speak of errors, or the last lines if none does,
        and the units that did not compile.
    """
    errors, last, failed = deque(maxlen=15), deque(maxlen=15), set()
    of_build = True
    for line in lines:
        log.write(line)
        step = NINJA_STEP.match(line)
        if step:
            show(int(step[1]), int(step[2]))
        failure = NINJA_FAILURE.match(line)
        if failure:
            failed.add(failure[1])
        of_build = of_build and PIP_SUMS_UP not in line
        if of_build:
            last.append(line)
            if ERROR.search(line):
                errors.append(line)
    return list(errors or last), failed


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from building into a folder at the same time.

    What a build that was killed left there is removed.

    Args:
        folder: Made where it is missing.

    Raises:
        InstallError: It cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / '.lock').open('w')
    except OSError as error:
        raise InstallError(
            f'MMCV cannot be built into {folder}: {error.strerror}. Choose '
            'another folder: XDG_CACHE_HOME=...'
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'  waiting for another set-up that builds into {folder}')
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            # Some network file systems have no locks. A second build is
            # wasted then, no more: each works in a folder of its own.
            yield
            return
        for left in folder.glob('.building-*'):
            shutil.rmtree(left, ignore_errors=True)
        yield
