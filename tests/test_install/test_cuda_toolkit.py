import sysconfig

import pytest

import cuda_toolkit
from steps import InstallError

NVCC = """#!/bin/sh
echo 'nvcc: NVIDIA (R) Cuda compiler driver'
echo 'Cuda compilation tools, release {}, V{}.88'
"""


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Packages that an installation puts into a folder, as NVIDIA's do."""
    asked = []
    packages = tmp_path / 'site' / 'nvidia' / 'cu13'

    def install(release):
        def pip_install(*arguments):
            asked.extend(arguments)
            for name in ('bin', 'include', 'nvvm', 'lib'):
                (packages / name).mkdir(parents=True)
            (packages / 'lib' / 'libcudart.so.13').touch()
            (packages / 'include' / 'cuda.h').touch()
            nvcc = packages / 'bin' / 'nvcc'
            if release:
                nvcc.write_text(NVCC.format(release, release))
                nvcc.chmod(0o755)

        monkeypatch.setattr(cuda_toolkit, 'pip_install', pip_install)
        return asked

    monkeypatch.setattr(
        sysconfig, 'get_path', lambda name: str(tmp_path / 'site')
    )
    return install


def test_toolkit_is_where_torch_looks(index, tmp_path):
    asked = index('13.0')
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'bin').symlink_to('/nowhere')

    home = cuda_toolkit.provide_toolkit('13.0', tmp_path / 'home')

    assert sorted(asked) == [
        '--quiet',
        'nvidia-cuda-cccl==13.0.*',
        'nvidia-cuda-crt==13.0.*',
        'nvidia-cuda-nvcc==13.0.*',
        'nvidia-cuda-runtime==13.0.*',
        'nvidia-nvvm==13.0.*',
    ]
    assert cuda_toolkit.nvcc_release(home) == '13.0'
    assert (home / 'include' / 'cuda.h').exists()
    # What `-lcudart` needs; the packages have the versioned name only.
    library = home / 'lib64' / 'libcudart.so'
    assert library.resolve().name == 'libcudart.so.13'


@pytest.mark.parametrize(
    ('release', 'told'),
    [
        pytest.param('13.1', 'but 13.1', id='other'),
        pytest.param('', 'but none at all', id='none'),
    ],
)
def test_compiler_that_does_not_fit_is_named(index, tmp_path, release, told):
    index(release)
    with pytest.raises(InstallError, match=told):
        cuda_toolkit.provide_toolkit('13.0', tmp_path / 'home')


@pytest.mark.parametrize(
    ('cuda', 'there'), [('11.8', False), ('12.8', False), ('13.0', True)]
)
def test_on_index(cuda, there):
    assert cuda_toolkit.on_index(cuda) is there


def test_no_toolkit_has_no_release(tmp_path):
    assert cuda_toolkit.nvcc_release(tmp_path) == ''
    assert cuda_toolkit.nvcc_release(None) == ''
