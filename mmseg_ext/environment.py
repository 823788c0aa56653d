"""Whether the installed packages fit, told before anything heavy is imported.

The accepted ranges are those of ``pyproject.toml``. They are read from the
metadata of the installed distribution, never written a second time.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

__all__ = [
    'FORKS',
    'STACKS',
    'Problem',
    'check_environment',
    'explain_import_error',
    'find_problems',
    'has_mmdet',
    'mmcv_requirement',
    'rebuild_mmcv',
    'requirement',
    'stack_of',
    'torchvision_for',
]

_DISTRIBUTION = 'mmseg-ext'

#: The extra with the packages that pip alone would install wrongly, PyTorch
#: and MMCV. They are needed all the same.
_BUILT = 'built'

#: The extras of each stack, those whose packages may be absent last.
STACKS = {
    'openmmlab': ('openmmlab', 'mmdet', 'mim'),
    'onedl': ('onedl', 'onedl-mmdet', 'onedl-mim'),
}

#: The extras whose packages may be absent.
_OPTIONAL = ('mmdet', 'mim', 'onedl-mmdet', 'onedl-mim')

#: OpenMMLab's own distributions, and the maintained forks under whose names
#: the same modules are installed.
FORKS = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmsegmentation': 'onedl-mmsegmentation',
    'mmdet': 'onedl-mmdetection',
    'openmim': 'onedl-mim',
}

#: OpenMMLab's own distribution for each fork.
_UPSTREAM = {fork: name for name, fork in FORKS.items()}

#: Other distributions of the same module.
_SUBSTITUTES = {
    'opencv-python': (
        'opencv-python-headless',
        'opencv-contrib-python',
        'opencv-contrib-python-headless',
    )
}

#: Either stack's MMCV.
_MMCV = ('mmcv', FORKS['mmcv'])

#: Why a package is needed, where that is not plain.
_REASONS = {'setuptools': 'MMEngine looks packages up with its pkg_resources'}


class Problem(NamedTuple):
    """A package that does not fit.

    Attributes:
        package: Name of the distribution.
        needed: What would fit.
        found: What is there.
        mend: A command line that puts it right.
    """

    package: str
    needed: str
    found: str
    mend: str

    def __str__(self) -> str:
        return (
            f'- {self.package}: needs {self.needed}; found {self.found}\n'
            f'    {self.mend}'
        )


def has_mmdet() -> bool:
    """Return whether MMDetection is installed; what needs it is optional."""
    return find_spec('mmdet') is not None


def check_environment(path: Sequence[str] | None = None) -> None:
    """Refuse an environment in which the package could not work.

    Only metadata is read and nothing is imported. Checked are the ranges of
    all that the package needs, that OpenMMLab's packages come from one stack,
    that MMCV has its compiled ops, and, where they are installed, MMDet's
    range and that torchvision belongs to the installed PyTorch. A source tree
    that is not installed has no metadata, so that its ranges are unknown and
    nothing is checked.

    Args:
        path: The folders to look for packages in. ``sys.path`` by default.

    Raises:
        ImportError: Something is missing, out of range or there twice. The
            message names each such package, what is needed, what is there,
            and a command that mends it.
    """
    problems = find_problems(sys.path if path is None else path)
    if problems:
        raise ImportError(
            f'mmseg_ext cannot work in this environment ({sys.prefix}):\n'
            + '\n'.join(map(str, problems))
            + '\ndocs/install.md says more.'
        )


def find_problems(path: Sequence[str]) -> list[Problem]:
    """Return what :func:`check_environment` complains of.

    Args:
        path: The folders to look for packages in.

    Returns:
        The problems in an order in which they can be mended. Where a package
        is there twice nothing else is checked: what is imported would be a
        mixture of both.
    """
    doubles = _doubles(path)
    if doubles:
        return doubles
    problems = []
    for extra, needed in _requirements(path, stack_of(path)):
        found, other = _find(needed.name, path), _other(needed.name, path)
        if found is None and other is None and extra in _OPTIONAL:
            continue
        if found is None or not _contains(needed, found.version):
            problems.append(_out_of_range(needed, found, path))
        elif needed.name in _MMCV and not _has_ops(found):
            problems.append(
                Problem(
                    needed.name,
                    'its compiled ops',
                    f'{found.version} without them',
                    rebuild_mmcv(requirement(needed.name, path)),
                )
            )
    problems += _torchvision_problems(path)
    # MMCV is built against PyTorch and with setuptools, so it comes last.
    return sorted(problems, key=lambda problem: problem.package in _MMCV)


def stack_of(path: Sequence[str] | None = None) -> str:
    """Return whose releases of OpenMMLab's packages are installed.

    Args:
        path: The folders to look for packages in. ``sys.path`` by default.

    Returns:
        ``'openmmlab'`` or ``'onedl'``: the stack of the first that is there
        of MMSegmentation, MMEngine, MMCV and MMDetection; ``'openmmlab'``
        where none is.
    """
    path = sys.path if path is None else path
    for name in ('mmsegmentation', *FORKS):
        if _find(name, path):
            return 'openmmlab'
        if _find(FORKS[name], path):
            return 'onedl'
    return 'openmmlab'


def requirement(package: str, path: Sequence[str] | None = None) -> str:
    """Return what the installed ``mmseg-ext`` asks of a package.

    Args:
        package: Name of a distribution that is needed, in either stack.
        path: The folders to look for packages in. ``sys.path`` by default.

    Returns:
        Name and range as pip takes them, ``'mmcv<2.2.0,>=2.1.0'``; the bare
        name where ``mmseg-ext`` is not installed.
    """
    path = sys.path if path is None else path
    for stack in STACKS:
        for _, needed in _requirements(path, stack):
            if needed.name == package:
                return f'{package}{needed.specifier}'
    return package


def mmcv_requirement(path: Sequence[str] | None = None) -> str:
    """Return :func:`requirement` of the stack's MMCV."""
    name = 'mmcv' if stack_of(path) == 'openmmlab' else FORKS['mmcv']
    return requirement(name, path)


def rebuild_mmcv(needed: str) -> str:
    """Return the command that builds MMCV's ops for the installed PyTorch.

    ``--no-cache-dir`` and ``--no-binary`` keep pip from taking a wheel that
    was built against another PyTorch: its cache does not tell them apart. On
    Python 3.13 the ``setup.py`` of upstream's MMCV has to be mended first,
    which the set-up in the source tree does.
    """
    name = Requirement(needed).name
    if name == 'mmcv' and sys.version_info >= (3, 13):
        return (
            "pip install '.[mmcv-build]' && python install --venv "
            f'{shlex.quote(sys.prefix)} --mmcv-only   # in the source tree'
        )
    return (
        'pip install wheel ninja psutil && MMCV_WITH_OPS=1 pip install '
        f'--no-build-isolation --no-cache-dir --no-binary {name} '
        f'--force-reinstall --no-deps {shlex.quote(needed)}'
    )


def torchvision_for(torch_version: str) -> str:
    """Return the torchvision that is made for a release of PyTorch 2.

    torchvision 0.15 came with PyTorch 2.0, and both have counted on since:
    https://github.com/pytorch/vision#installation

    >>> torchvision_for('2.13.0+cpu')
    'torchvision==0.28.*'
    """
    return f'torchvision==0.{Version(torch_version).minor + 15}.*'


def explain_import_error(error: Exception) -> Exception:
    """Turn the known failures of compiled packages into clear errors.

    Metadata cannot tell them beforehand. Meant for the first heavy imports,
    which raise the result from ``error``, or ``error`` itself as it is.

    Args:
        error: What an import raised.

    Returns:
        An :class:`ImportError` that says what to do, or ``error`` itself
        where nothing is known about it.
    """
    library = Path(getattr(error, 'path', None) or '')
    if library.match('mmcv/_ext.*'):
        return ImportError(
            "mmcv's compiled ops do not fit the installed PyTorch: "
            f'{error}\nBuild them again:\n'
            f'    {rebuild_mmcv(mmcv_requirement())}'
        )
    if library.match('cv2/cv2.*') and 'libGL' in str(error):
        return ImportError(
            f'OpenCV lacks a system library: {error}\n'
            'Install it (Debian, Ubuntu):\n    apt-get install libgl1\n'
            'or take the OpenCV that does without:\n    pip uninstall -y '
            'opencv-python && pip install opencv-python-headless'
        )
    if 'torchvision::' in str(error):
        return ImportError(
            'the installed torchvision is built for another PyTorch, such '
            f'as one for CUDA beside a CPU build: {error}\n'
            'Only MMDeeplabV3 needs it. Remove it, or see docs/install.md:\n'
            '    pip uninstall -y torchvision'
        )
    return error


def _doubles(path: Sequence[str]) -> list[Problem]:
    """Return a problem for each package that is there from both stacks.

    To be removed are those of the stack that fewer packages are of.
    """
    own = {name: _find(name, path) for name in FORKS}
    forks = {name: _find(fork, path) for name, fork in FORKS.items()}
    more_forks = sum(map(bool, forks.values())) > sum(map(bool, own.values()))
    doubles = []
    for name, fork in FORKS.items():
        first, second = own[name], forks[name]
        if first and second:
            keep, remove = (fork, name) if more_forks else (name, fork)
            needed = requirement(keep, path)
            # Either one's removal takes files of the other along.
            again = (
                rebuild_mmcv(needed)
                if keep in _MMCV
                else 'pip install --force-reinstall --no-deps '
                + shlex.quote(needed)
            )
            doubles.append(
                Problem(
                    f'{name} and {fork}',
                    'one of them, since each overwrites files of the other',
                    f'{first.version} and {second.version}',
                    f'pip uninstall -y {remove} && {again}',
                )
            )
    return doubles


def _other(name: str, path: Sequence[str]) -> metadata.Distribution | None:
    """Return what the other stack has in the place of a package."""
    counterpart = FORKS.get(name) or _UPSTREAM.get(name)
    return _find(counterpart, path) if counterpart else None


def _requirements(
    path: Sequence[str], stack: str
) -> Iterator[tuple[str, Requirement]]:
    """Yield each requirement in a stack and its extra, '' for none."""
    own = _find(_DISTRIBUTION, path)
    foreign = FORKS if stack == 'onedl' else _UPSTREAM
    for text in (own and own.requires) or ():
        needed = Requirement(text)
        if needed.name in foreign:
            continue
        for extra in ('', _BUILT, *STACKS[stack]):
            if not needed.marker or needed.marker.evaluate({'extra': extra}):
                break
        else:
            continue
        # What optional packages need besides is their own matter.
        if extra not in _OPTIONAL or needed.name in (*FORKS, *_UPSTREAM):
            yield extra, needed


def _find(name: str, path: Sequence[str]) -> metadata.Distribution | None:
    """Return an installed distribution, or another one of the same module."""
    for candidate in (name, *_SUBSTITUTES.get(name, ())):
        found = metadata.Distribution.discover(name=candidate, path=list(path))
        for distribution in found:
            return distribution
    return None


def _contains(needed: Requirement, version: str) -> bool:
    """Return whether a version is in a range, be it a pre-release."""
    return needed.specifier.contains(version, prereleases=True)


def _out_of_range(
    needed: Requirement,
    found: metadata.Distribution | None,
    path: Sequence[str],
) -> Problem:
    """Describe a package that is missing or has a version that won't do."""
    plain = f'{needed.name}{needed.specifier}'
    mend = f'pip install {shlex.quote(plain)}'
    there = found.version if found else 'not installed'
    lite = _find('mmcv-lite', path) if needed.name in _MMCV else None
    if needed.name in _MMCV:
        mend = rebuild_mmcv(plain)
    if lite:
        mend = f'pip uninstall -y mmcv-lite && {mend}'
        there = f'mmcv-lite {lite.version}, which has no compiled ops'
    other = _other(needed.name, path)
    if other:
        mend = f'pip uninstall -y {other.name} && {mend}'
        there = f'{other.name} {other.version}, of another stack than the rest'
    reason = _REASONS.get(needed.name)
    return Problem(
        needed.name,
        (str(needed.specifier) or 'any version')
        + (f' ({reason})' if reason else ''),
        there,
        mend,
    )


def _has_ops(mmcv: metadata.Distribution) -> bool:
    """Return whether MMCV's extension module is there, as far as files tell.

    An editable install has its files elsewhere and gets the benefit of the
    doubt.
    """
    folder = Path(str(mmcv.locate_file('mmcv')))
    return not folder.is_dir() or any(
        file.suffix in ('.so', '.pyd') for file in folder.glob('_ext.*')
    )


def _torchvision_problems(path: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem if torchvision asks for another PyTorch."""
    torchvision = _find('torchvision', path)
    torch = _find('torch', path)
    if not (torchvision and torch):
        return
    for needed in map(Requirement, torchvision.requires or ()):
        if needed.name == 'torch' and not _contains(needed, torch.version):
            fitting = torchvision_for(torch.version)
            yield Problem(
                'torchvision',
                f'{fitting.removeprefix("torchvision")} beside torch '
                f'{torch.version}',
                f'{torchvision.version}, made for torch{needed.specifier}',
                f'pip install {shlex.quote(fitting)}',
            )
