"""NVIDIA's compiler from the package index, for machines without a toolkit.

PyTorch's builds for CUDA 13 and newer bring the libraries and their headers
along, as packages that share one folder. Four more packages add the compiler
to it. Those of CUDA 12 have no ``nvcc`` among them.
"""

import re
import sysconfig
from pathlib import Path

from steps import InstallError, output_of, pip_install

__all__ = ['nvcc_release', 'on_index', 'provide_toolkit']

#: Compiler, its back end, its headers, and the C++ libraries.
PACKAGES = (
    'nvidia-cuda-nvcc',
    'nvidia-nvvm',
    'nvidia-cuda-crt',
    'nvidia-cuda-cccl',
    'nvidia-cuda-runtime',
)

#: First major release whose packages hold a whole compiler.
FIRST = 13


def on_index(cuda: str) -> bool:
    """Return whether the package index has a compiler of a CUDA release.

    Args:
        cuda: Such as ``'13.0'``.
    """
    return int(cuda.split('.')[0]) >= FIRST


def nvcc_release(cuda_home: str | Path | None) -> str:
    """Return the CUDA release of a toolkit's compiler, ``''`` without one."""
    found = re.search(
        r'release (\d+\.\d+)', output_of(f'{cuda_home}/bin/nvcc', '--version')
    )
    return found[1] if found else ''


def provide_toolkit(cuda: str, folder: Path) -> Path:
    """Install the compiler into the environment.

    Args:
        cuda: PyTorch's CUDA release, such as ``'13.0'``.
        folder: Made anew, of links to where the packages lie: in them the
            libraries have no names that a linker looks for.

    Returns:
        The toolkit, for ``CUDA_HOME``.

    Raises:
        InstallError: There are no such packages, or their compiler does not
            run.
    """
    pip_install('--quiet', *(f'{package}=={cuda}.*' for package in PACKAGES))
    packages = Path(
        sysconfig.get_path('purelib'), 'nvidia', f'cu{cuda.split(".")[0]}'
    )
    libraries = folder / 'lib64'
    libraries.mkdir(parents=True, exist_ok=True)
    for name in ('bin', 'include', 'nvvm'):
        _link(folder / name, packages / name)
    for library in (packages / 'lib').glob('*.so.*'):
        _link(libraries / library.name.partition('.so.')[0], library, '.so')
    release = nvcc_release(folder)
    if release != cuda:
        raise InstallError(
            f'the packages {", ".join(PACKAGES)} of CUDA {cuda} brought no '
            f'nvcc of that release into {packages}, but '
            f'{release or "none at all"}'
        )
    return folder


def _link(path: Path, target: Path, suffix: str = '') -> None:
    path = path.with_name(path.name + suffix)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
