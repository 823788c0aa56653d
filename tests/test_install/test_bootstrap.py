import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import set_up

INSTALL = Path(__file__).parents[2] / 'install'
REQUIRES = 'name = "x"\nrequires-python = ">=3.10,<3.14"\n'


@pytest.fixture(scope='module')
def bootstrap():
    spec = importlib.util.spec_from_file_location(
        'bootstrap', INSTALL / '__main__.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('version', [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_fit_python_passes(bootstrap, version):
    assert bootstrap.refuse_unfit_python(version, REQUIRES) is None


@pytest.mark.parametrize('version', [(2, 7), (3, 9), (3, 14), (4, 0)])
def test_unfit_python_gets_one_line(bootstrap, version, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        bootstrap.refuse_unfit_python(version, REQUIRES)
    assert caught.value.code == (
        f'error: mmseg_ext needs Python >=3.10, <3.14; {sys.executable} is '
        f'{version[0]}.{version[1]}. Choose another one: '
        'make PYTHON=python3.11'
    )


def test_unfit_environment_is_to_be_made_anew(
    bootstrap, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    (tmp_path / set_up.RECORD).touch()
    with pytest.raises(SystemExit, match='anew: make clean-env'):
        bootstrap.refuse_unfit_python((3, 9), REQUIRES)


def test_this_python_fits(bootstrap):
    project = (INSTALL.parent / 'pyproject.toml').read_text()
    bootstrap.refuse_unfit_python(sys.version_info[:2], project)


def test_help_explains_the_options():
    done = subprocess.run(
        [sys.executable, INSTALL, '--help'],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (
        *('--venv', '--torch', '--stack', '--tests', '--package-only'),
        '--mmcv-only',
    ):
        assert option in done.stdout
    assert 'takes minutes' not in done.stdout
