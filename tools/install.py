"""Set up an environment in which the package and all it builds on work.

    python3.11 tools/install.py --venv .venv

makes the environment where it is missing and installs PyTorch, the package
with MIM and MMDet, and MMCV with its compiled ops, for CUDA where this machine
can. The ops take minutes to build. The wheel is kept for the next
environment, under ``$XDG_CACHE_HOME/mmseg_ext/wheels``, apart for each PyTorch
build: pip's own cache does not tell these apart.

The file runs twice: first by any Python, to make the environment, with the
standard library alone, then by the environment's own.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TextIO

ROOT = Path(__file__).resolve().parents[1]


def refuse_unfit_python(version, requires):  # noqa: ANN001, ANN201
    """Exit with one line where the package does not support this Python.

    Args:
        version: Major and minor version.
        requires: Text with the line ``requires-python = ">=3.10,<3.13"``.
    """
    numbers = re.search(
        r'requires-python = ">=(\d+)\.(\d+),<(\d+)\.(\d+)"', requires
    )
    first, end = numbers.groups()[:2], numbers.groups()[2:]
    if not tuple(map(int, first)) <= version < tuple(map(int, end)):
        sys.exit(
            'error: mmseg_ext needs Python >={}, <{}; {} is {}.{}. Choose '
            'another one: make PYTHON=python3.11'.format(
                '.'.join(first), '.'.join(end), sys.executable, *version
            )
        )


# Before anything that an old Python cannot evaluate.
refuse_unfit_python(
    sys.version_info[:2], (ROOT / 'pyproject.toml').read_text()
)

#: The PyTorch that the package is tested with.
TORCH = 'torch==2.13.0'

#: Memory that one compiler process takes at its peak, in bytes.
JOB_MEMORY = 2.5e9

#: How ninja counts its steps, in pip's indented output.
NINJA_STEP = re.compile(r'\s*\[(\d+)/(\d+)\] ')

#: What the lines have in common that say why a build failed.
ERROR = re.compile(r'(error|failed|killed)\b', re.IGNORECASE)

#: pip says this once a build has failed; only its own words follow.
PIP_SUMS_UP = 'error: subprocess-exited-with-error'

CPU_OPS = (
    "MMCV's ops are built for the CPU: MMSeg runs on the GPU, MMDet's RoI ops "
    '(RoIAlign, NMS) do not. See docs/install.md.'
)


class InstallError(Exception):
    """What stops the set-up; the text is for the user."""


class Machine(NamedTuple):
    """What decides how MMCV's ops are built.

    Attributes:
        torch: PyTorch's version with its local tag, ``'2.13.0+cpu'``.
        torch_cuda: The CUDA release it is built for, ``''`` for a CPU build.
        has_gpu: Whether the driver lists a GPU.
        capabilities: Compute capabilities of the GPUs that PyTorch can use,
            sorted: ``('8.0', '9.0')``.
        nvcc: CUDA release of the compiler, ``''`` without one.
    """

    torch: str
    torch_cuda: str = ''
    has_gpu: bool = False
    capabilities: tuple[str, ...] = ()
    nvcc: str = ''


def choose_ops(machine: Machine) -> tuple[str, str]:
    """Decide what MMCV's ops are built for.

    Args:
        machine: The PyTorch, GPUs and compiler at hand.

    Returns:
        ``'cuda'`` or ``'cpu'``, and what the user should know, ``''`` if
        there is nothing to say.
    """
    if not machine.has_gpu:
        return 'cpu', ''
    if not machine.torch_cuda:
        return 'cpu', (
            f'PyTorch {machine.torch} is a CPU build: nothing will run on '
            "this machine's GPU. For the GPU, set TORCH to a CUDA build."
        )
    if not machine.capabilities:
        return 'cpu', (
            f"PyTorch {machine.torch} cannot use this machine's GPU; the "
            f'driver may be too old for CUDA {machine.torch_cuda}. {CPU_OPS}'
        )
    if not machine.nvcc:
        return 'cpu', f'There is a GPU, but no nvcc. {CPU_OPS}'
    if machine.nvcc.split('.')[0] != machine.torch_cuda.split('.')[0]:
        return 'cpu', (
            f'nvcc is of CUDA {machine.nvcc}, PyTorch is built for '
            f'{machine.torch_cuda}. {CPU_OPS}'
        )
    return 'cuda', ''


def wheel_key(machine: Machine, ops: str) -> str:
    """Name what a wheel of MMCV is good for, as a folder name."""
    if ops == 'cpu':
        return f'{machine.torch}-cpu'
    cuda = machine.torch_cuda.replace('.', '')
    chips = ''.join(
        f'-sm{capability.replace(".", "")}'
        for capability in machine.capabilities
    )
    return f'{machine.torch}-cu{cuda}{chips}'


def wheel_folder(machine: Machine, ops: str) -> Path:
    """Give the folder in which such wheels are kept."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache, 'mmseg_ext', 'wheels', wheel_key(machine, ops))


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def build_jobs(cores: int, memory: float) -> int:
    """Choose how many files are compiled at once.

    Args:
        cores: Number of usable cores.
        memory: Free memory in bytes.
    """
    return max(1, min(cores, int(memory // JOB_MEMORY)))


def build_variables(machine: Machine, ops: str, jobs: int) -> dict[str, str]:
    """Give the environment variables that make MMCV build the chosen ops."""
    variables = {
        'MMCV_WITH_OPS': '1',
        'PYTHONUNBUFFERED': '1',
        'MAX_JOBS': os.environ.get('MAX_JOBS', str(jobs)),
    }
    if ops == 'cuda':
        variables['FORCE_CUDA'] = '1'
        variables['TORCH_CUDA_ARCH_LIST'] = ';'.join(machine.capabilities)
    else:
        # MMCV builds for CUDA as soon as PyTorch sees a GPU.
        variables['FORCE_CUDA'] = '0'
        variables['CUDA_VISIBLE_DEVICES'] = ''
    return variables


def build_command(requirement: str, folder: str) -> list[str]:
    """Give the command that builds a wheel of MMCV into a folder."""
    return [
        *(sys.executable, '-m', 'pip', 'wheel', '--verbose', '--no-deps'),
        *('--no-build-isolation', '--no-cache-dir', '--no-binary', 'mmcv'),
        *('--wheel-dir', folder, requirement),
    ]


def follow_build(
    lines: Iterable[str], log: TextIO, show: Callable[[int, int], None]
) -> list[str]:
    """Copy a build's output to its log and show how far it is.

    Args:
        lines: The output, as it comes.
        log: Gets every line.
        show: Called with the steps done and their total.

    Returns:
        The last lines that speak of errors, or the last lines if none does.
    """
    errors, last = deque(maxlen=15), deque(maxlen=15)
    of_build = True
    for line in lines:
        log.write(line)
        step = NINJA_STEP.match(line)
        if step:
            show(int(step[1]), int(step[2]))
        of_build = of_build and PIP_SUMS_UP not in line
        if of_build:
            last.append(line)
            if ERROR.search(line):
                errors.append(line)
    return list(errors or last)


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows ``(done, total)``.

    It draws a bar on a terminal and prints every tenth elsewhere.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(desc='building mmcv', unit='file') as bar:

            def draw(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield draw
    else:
        tenths = 0

        def tell(done: int, total: int) -> None:
            nonlocal tenths
            if done * 10 // total > tenths:
                tenths = done * 10 // total
                say(f'  building mmcv: {tenths * 10} %, {done} of {total}')

        yield tell


def build_wheel(
    requirement: str, folder: Path, variables: dict[str, str], log: Path
) -> None:
    """Build a wheel of MMCV and put it into the folder once it is whole.

    Args:
        requirement: Name and range of MMCV.
        folder: Where the wheel goes. Two builds may race for it.
        variables: Environment variables of the build.
        log: Gets all that the build says.

    Raises:
        InstallError: The build failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix='.building-') as part:
        build = subprocess.Popen(
            build_command(requirement, part),
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
        )
        with build, log.open('w') as out, progress() as show:
            why = follow_build(build.stdout, out, show)
        wheels = list(Path(part).glob('mmcv-*.whl'))
        if build.returncode or not wheels:
            raise InstallError(
                f'building mmcv failed, {log} has it all:\n' + ''.join(why)
            )
        wheels[0].replace(folder / wheels[0].name)


def check_compiler() -> None:
    """Refuse to start a build that lacks a compiler or Python's headers."""
    compiler = os.environ.get('CXX', 'c++')
    if not shutil.which(compiler):
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


def fails(*command: str) -> str:
    """Run a command; give what it says on failure, ``''`` if it succeeds."""
    # Not in the working folder: Python would look for modules there.
    done = subprocess.run(
        command, cwd=sys.prefix, capture_output=True, text=True
    )
    return (done.stderr.strip() or str(command)) if done.returncode else ''


def import_fails(module: str) -> str:
    """Say why a module cannot be imported, ``''`` if it can."""
    return fails(sys.executable, '-c', f'import torch, {module}')


def install_wheel_fails(requirement: str, folder: Path) -> str:
    """Install MMCV from a folder of wheels; say why its ops do not work."""
    return fails(
        *(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps'),
        *('--force-reinstall', '--no-index', '--find-links', str(folder)),
        requirement,
    ) or import_fails('mmcv._ext')


def provide_mmcv(requirement: str, machine: Machine, ops: str) -> None:
    """Install MMCV with such ops, and build the wheel if none is kept.

    Args:
        requirement: Name and range of MMCV.
        machine: What the wheel has to fit.
        ops: ``'cuda'`` or ``'cpu'``.

    Raises:
        InstallError: The build failed, or its ops do not load.
    """
    folder = wheel_folder(machine, ops)
    if not install_wheel_fails(requirement, folder):
        say(f'  with the wheel in {folder}')
        return
    check_compiler()
    import psutil

    jobs = build_jobs(usable_cores(), psutil.virtual_memory().available)
    log = Path(sys.prefix, f'mmcv-build-{ops}.log')
    say(
        f"  building MMCV's ops ({wheel_key(machine, ops)}); this takes "
        f'minutes, once. Log: {log}'
    )
    build_wheel(requirement, folder, build_variables(machine, ops, jobs), log)
    trouble = install_wheel_fails(requirement, folder)
    if trouble:
        raise InstallError(f'the ops in {folder} do not work:\n{trouble}')


def install_mmcv(requirement: str, machine: Machine) -> None:
    """Install MMCV for this machine, where it is not there already.

    Where a build for CUDA fails, the ops are built for the CPU.
    """
    ops, notice = choose_ops(machine)
    record = Path(sys.prefix, '.mmcv-ops')
    wanted = wheel_key(machine, ops)
    if (
        record.exists()
        and record.read_text() == wanted
        and not import_fails('mmcv._ext')
    ):
        return
    if notice:
        say(f'  NOTE: {notice}')
    try:
        provide_mmcv(requirement, machine, ops)
    except InstallError as error:
        if ops == 'cpu':
            raise
        say(f'  {error}\n  NOTE: The build for CUDA failed. {CPU_OPS}')
        provide_mmcv(requirement, machine, 'cpu')
    record.write_text(wanted)


def look_at_machine() -> Machine:
    """Ask PyTorch, the driver and nvcc."""
    import torch
    from torch.utils.cpp_extension import CUDA_HOME

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    capabilities = {
        '{}.{}'.format(*torch.cuda.get_device_capability(index))
        for index in range(count)
    }
    release = re.search(
        r'release (\d+\.\d+)',
        output_of(f'{CUDA_HOME}/bin/nvcc', '--version'),
    )
    return Machine(
        torch=torch.__version__,
        torch_cuda=torch.version.cuda or '',
        has_gpu=bool(count) or 'GPU 0' in output_of('nvidia-smi', '-L'),
        capabilities=tuple(sorted(capabilities)),
        nvcc=release[1] if release else '',
    )


def output_of(*command: str) -> str:
    """Give what a command prints, ``''`` where there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ''


def install_torchvision(requirement: str) -> None:
    """Put torchvision beside the environment, for the tests of its models.

    Installed into it, a torchvision built for CUDA would break MMEngine
    beside a CPU build of PyTorch. Nothing is done where torchvision works.

    Args:
        requirement: The torchvision that belongs to the PyTorch.
    """
    if not import_fails('torchvision'):
        return
    folder = Path(sys.prefix, 'torchvision')
    version = requirement.partition('==')[2]
    if not list(folder.glob(f'torchvision-{version}.dist-info')):
        pip_install(
            *('--no-deps', '--upgrade', '--target', str(folder)), requirement
        )


def pip_install(*arguments: str) -> None:
    """Run ``pip install``; pip speaks for itself."""
    command = [sys.executable, '-m', 'pip', 'install', '--no-input']
    command += ['--disable-pip-version-check', *arguments]
    if subprocess.run(command).returncode:
        raise InstallError(f'pip install {" ".join(arguments)} failed')


def load_environment() -> ModuleType:
    """Load ``mmseg_ext/environment.py`` without the package around it."""
    spec = importlib.util.spec_from_file_location(
        'environment', ROOT / 'mmseg_ext' / 'environment.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_up(torch: str, tests: bool) -> None:
    """Install everything into the environment of the running Python.

    Args:
        torch: PyTorch, as pip takes it.
        tests: Whether to install what the tests need, too.

    Raises:
        InstallError: A step failed.
    """
    extras = 'mim,mmcv-build,mmdet' + (',test' if tests else '')
    with step(f'{torch} and the package with [{extras}]'):
        # One command, so that pip finds versions that go together.
        pip_install(torch, f'{ROOT}[{extras}]')
    environment = load_environment()
    try:
        # MMCV cannot be tried without it, and it needs a system library.
        import cv2  # noqa: F401
    except ImportError as error:
        raise InstallError(environment.explain_import_error(error)) from error
    with step('MMCV with its compiled ops'):
        machine = look_at_machine()
        install_mmcv(environment.requirement('mmcv'), machine)
    if tests:
        with step('torchvision for the tests'):
            install_torchvision(environment.torchvision_for(machine.torch))
    try:
        environment.check_environment()
    except ImportError as error:
        raise InstallError(error) from error


def make_venv(folder: Path) -> None:
    """Make a virtual environment, unless there is a whole one."""
    if Path(folder, 'bin', 'pip').exists():
        return
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not Path(folder, 'pyvenv.cfg').exists()
    ):
        raise InstallError(
            f'{folder} is no virtual environment. Choose a folder that is '
            'new or empty: make VENV=...'
        )
    with step(f'{folder}, with {sys.executable}'):
        if subprocess.run([sys.executable, '-m', 'venv', folder]).returncode:
            raise InstallError(f'could not make {folder}')


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and tell how long it took."""
    say(f'==> {title}')
    start = time.monotonic()
    yield
    say(f'    done in {time.monotonic() - start:.0f} s')


def say(text: str) -> None:
    """Print at once, in step with what pip prints."""
    print(text, flush=True)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--venv',
        type=Path,
        default=Path('.venv'),
        help='folder of the virtual environment (default: %(default)s)',
    )
    parser.add_argument(
        '--torch',
        default=TORCH,
        help='PyTorch, as pip takes it (default: %(default)s)',
    )
    parser.add_argument(
        '--tests', action='store_true', help='also what the tests need'
    )
    parser.add_argument(
        '--package-only',
        action='store_true',
        help='only install the package again, after a change to its sources',
    )
    return parser.parse_args()


def main() -> None:
    """Make the environment, then go on inside it."""
    args = parse_args()
    venv = args.venv.absolute()
    try:
        if Path(sys.prefix).resolve() != venv.resolve():
            make_venv(venv)
            python = str(venv / 'bin' / 'python')
            os.execv(python, [python, *sys.argv])
        elif args.package_only:
            pip_install('--quiet', '--no-deps', '--force-reinstall', str(ROOT))
        else:
            set_up(args.torch, args.tests)
    except (InstallError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('\nstopped; the same command goes on from here')


if __name__ == '__main__':
    main()
