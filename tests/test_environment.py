import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_ext.environment import (
    check_environment,
    explain_import_error,
    find_problems,
    mmcv_requirement,
    rebuild_mmcv,
    requirement,
    stack_of,
    torchvision_for,
)

REQUIRES = (
    'opencv-python',
    "mmengine>=0.10.7,<0.11; extra == 'openmmlab'",
    "mmsegmentation>=1.2.2,<2; extra == 'openmmlab'",
    "setuptools<81; extra == 'openmmlab'",
    "mmcv<2.2.0,>=2.1.0; extra == 'built'",
    "onedl-mmcv<3,>=2.3.6; extra == 'built'",
    "torch>=2.6; extra == 'built'",
    "mmdet<4,>=3.3.0; extra == 'mmdet'",
    "onedl-mmengine>=0.10.12,<0.11; extra == 'onedl'",
    "onedl-mmsegmentation>=1.4.2,<2; extra == 'onedl'",
    "onedl-mmdetection>=3.5.1,<4; extra == 'onedl-mmdet'",
    "openmim>=0.3.9; extra == 'mim'",
    "onedl-mim>=0.5.1,<1; extra == 'onedl-mim'",
    "setuptools>=77; extra == 'mim'",
    "absent-tool; extra == 'test'",
)
FITTING = {
    'mmengine': '0.10.7',
    'mmsegmentation': '1.2.2',
    'opencv-python': '5.0.0.93',
    'setuptools': '80.9.0',
    'mmcv': '2.1.0',
    'torch': '2.13.0+cpu',
}
#: What differs in an environment with the forks.
FORKS = {
    **dict.fromkeys(('mmengine', 'mmsegmentation', 'mmcv')),
    'onedl-mmengine': '0.10.12',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmcv': '2.3.6',
    'setuptools': '84.0.0',
}
BUILD_MMCV = (
    'pip install wheel ninja psutil && MMCV_WITH_OPS=1 pip install '
    '--no-build-isolation --no-cache-dir --no-binary mmcv '
    "--force-reinstall --no-deps 'mmcv<2.2.0,>=2.1.0'"
)
BUILD_FORK = (
    BUILD_MMCV.replace('<2.2.0,>=2.1.0', '<3,>=2.3.6')
    .replace(*(' mmcv ', ' onedl-mmcv '))
    .replace("'mmcv<", "'onedl-mmcv<")
)
if sys.version_info >= (3, 13):
    BUILD_MMCV = (
        "pip install '.[mmcv-build]' && python install --venv "
        f'{sys.prefix} --mmcv-only   # in the source tree'
    )


def add_distribution(folder, name, version, requires=()):
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
    lines += [f'Requires-Dist: {text}' for text in requires]
    (info / 'METADATA').write_text('\n'.join(lines) + '\n')


def site_packages(
    folder, changes=(), ops='_ext.cpython-311-x86_64-linux-gnu.so'
):
    """Fake an environment: what fits, but for the changes."""
    add_distribution(folder, 'mmseg-ext', '0.1.0', REQUIRES)
    for name, version in {**FITTING, **dict(changes)}.items():
        if version:
            add_distribution(folder, name, version)
    (folder / 'mmcv').mkdir()
    (folder / 'mmcv' / 'version.py').touch()
    if ops:
        (folder / 'mmcv' / ops).touch()
    return [str(folder)]


@pytest.mark.parametrize(
    'changes',
    [
        pytest.param({}, id='without-mmdet'),
        pytest.param({'mmdet': '3.3.0'}, id='with-mmdet'),
        pytest.param({'mmengine': '0.10.99'}, id='upper-end'),
        pytest.param(
            {'setuptools': '65.5.0'}, id='setuptools-too-old-for-mim'
        ),
        pytest.param({'torch': '2.14.0a0+git1'}, id='torch-prerelease'),
        pytest.param(
            {'opencv-python': None, 'opencv-python-headless': '4.12.0'},
            id='headless-opencv',
        ),
        pytest.param(FORKS, id='forks'),
        pytest.param(
            {**FORKS, 'onedl-mmdetection': '3.5.1'}, id='forks-with-mmdet'
        ),
    ],
)
def test_fitting_environment_passes(tmp_path, changes):
    assert check_environment(site_packages(tmp_path, changes)) is None


@pytest.mark.parametrize(
    ('changes', 'needed', 'found', 'mend'),
    [
        pytest.param(
            {'mmengine': '0.11.0'},
            '<0.11,>=0.10.7',
            '0.11.0',
            "pip install 'mmengine<0.11,>=0.10.7'",
            id='too-new',
        ),
        pytest.param(
            {'mmengine': None},
            '<0.11,>=0.10.7',
            'not installed',
            "pip install 'mmengine<0.11,>=0.10.7'",
            id='missing',
        ),
        pytest.param(
            {'opencv-python': None},
            'any version',
            'not installed',
            'pip install opencv-python',
            id='no-range',
        ),
        pytest.param(
            {'torch': '2.5.1'},
            '>=2.6',
            '2.5.1',
            "pip install 'torch>=2.6'",
            id='too-old',
        ),
        pytest.param(
            {'setuptools': '84.0.0'},
            '<81 (MMEngine looks packages up with its pkg_resources)',
            '84.0.0',
            "pip install 'setuptools<81'",
            id='setuptools-without-pkg-resources',
        ),
        pytest.param(
            {'mmdet': '2.28.2'},
            '<4,>=3.3.0',
            '2.28.2',
            "pip install 'mmdet<4,>=3.3.0'",
            id='optional-but-out-of-range',
        ),
        pytest.param(
            {'mmcv': '2.2.0'},
            '<2.2.0,>=2.1.0',
            '2.2.0',
            BUILD_MMCV,
            id='mmcv-too-new',
        ),
        pytest.param(
            {'mmcv': None, 'mmcv-lite': '2.1.0'},
            '<2.2.0,>=2.1.0',
            'mmcv-lite 2.1.0, which has no compiled ops',
            f'pip uninstall -y mmcv-lite && {BUILD_MMCV}',
            id='mmcv-lite',
        ),
    ],
)
def test_package_is_named(tmp_path, changes, needed, found, mend):
    problems = find_problems(site_packages(tmp_path, changes))
    package = next(iter(changes))
    assert problems == [(package, needed, found, mend)]


@pytest.mark.parametrize(
    ('changes', 'package', 'needed', 'found', 'mend'),
    [
        pytest.param(
            {'onedl-mmengine': '0.10.9'},
            'onedl-mmengine',
            '<0.11,>=0.10.12',
            '0.10.9',
            "pip install 'onedl-mmengine<0.11,>=0.10.12'",
            id='too-old',
        ),
        pytest.param(
            {'onedl-mmcv': '2.3.0'},
            'onedl-mmcv',
            '<3,>=2.3.6',
            '2.3.0',
            BUILD_FORK,
            id='mmcv-too-old',
        ),
        pytest.param(
            {'onedl-mmdetection': '3.4.0'},
            'onedl-mmdetection',
            '<4,>=3.5.1',
            '3.4.0',
            "pip install 'onedl-mmdetection<4,>=3.5.1'",
            id='mmdet-too-old',
        ),
        pytest.param(
            {'onedl-mmcv': None, 'mmcv': '2.1.0'},
            'onedl-mmcv',
            '<3,>=2.3.6',
            'mmcv 2.1.0, of another stack than the rest',
            f'pip uninstall -y mmcv && {BUILD_FORK}',
            id='mmcv-of-the-other-stack',
        ),
        pytest.param(
            {'mmdet': '3.3.0'},
            'onedl-mmdetection',
            '<4,>=3.5.1',
            'mmdet 3.3.0, of another stack than the rest',
            'pip uninstall -y mmdet && '
            "pip install 'onedl-mmdetection<4,>=3.5.1'",
            id='mmdet-of-the-other-stack',
        ),
        pytest.param(
            {'onedl-mim': '0.5.0'},
            'onedl-mim',
            '<1,>=0.5.1',
            '0.5.0',
            "pip install 'onedl-mim<1,>=0.5.1'",
            id='mim-too-old',
        ),
        pytest.param(
            {'openmim': '0.3.9'},
            'onedl-mim',
            '<1,>=0.5.1',
            'openmim 0.3.9, of another stack than the rest',
            "pip uninstall -y openmim && pip install 'onedl-mim<1,>=0.5.1'",
            id='mim-of-the-other-stack',
        ),
    ],
)
def test_fork_is_named(tmp_path, changes, package, needed, found, mend):
    path = site_packages(tmp_path, {**FORKS, **changes})
    assert find_problems(path) == [(package, needed, found, mend)]


def test_fork_beside_the_rest_of_upstream_is_named(tmp_path):
    changes = {'mmengine': None, 'onedl-mmengine': '0.10.12'}
    assert find_problems(site_packages(tmp_path, changes)) == [
        (
            'mmengine',
            '<0.11,>=0.10.7',
            'onedl-mmengine 0.10.12, of another stack than the rest',
            'pip uninstall -y onedl-mmengine && '
            "pip install 'mmengine<0.11,>=0.10.7'",
        )
    ]


def test_both_stacks_side_by_side_are_named(tmp_path):
    changes = {'onedl-mmcv': '2.3.6', 'onedl-mmengine': '0.10.12'}
    one = 'one of them, since each overwrites files of the other'
    assert find_problems(site_packages(tmp_path, changes)) == [
        (
            'mmengine and onedl-mmengine',
            one,
            '0.10.7 and 0.10.12',
            'pip uninstall -y onedl-mmengine && '
            "pip install --force-reinstall --no-deps 'mmengine<0.11,>=0.10.7'",
        ),
        (
            'mmcv and onedl-mmcv',
            one,
            '2.1.0 and 2.3.6',
            f'pip uninstall -y onedl-mmcv && {BUILD_MMCV}',
        ),
    ]


def test_stack_of_the_most_is_kept(tmp_path):
    changes = {**FORKS, 'mmcv': '2.1.0'}
    (problem,) = find_problems(site_packages(tmp_path, changes))
    assert problem.package == 'mmcv and onedl-mmcv'
    assert problem.mend == f'pip uninstall -y mmcv && {BUILD_FORK}'


def test_mmcv_of_the_fork_without_ops_is_named(tmp_path):
    path = site_packages(tmp_path, FORKS, ops=None)
    assert find_problems(path) == [
        ('onedl-mmcv', 'its compiled ops', '2.3.6 without them', BUILD_FORK)
    ]


def test_stack_is_that_of_what_is_there(tmp_path):
    (tmp_path / 'own').mkdir()
    (tmp_path / 'forks').mkdir()
    own = site_packages(tmp_path / 'own')
    forks = site_packages(tmp_path / 'forks', FORKS)
    assert (stack_of(own), stack_of(forks)) == ('openmmlab', 'onedl')
    assert stack_of([]) == 'openmmlab'
    assert mmcv_requirement(own) == 'mmcv<2.2.0,>=2.1.0'
    assert mmcv_requirement(forks) == 'onedl-mmcv<3,>=2.3.6'


def test_mmcv_without_ops_is_named(tmp_path):
    path = site_packages(tmp_path, ops=None)
    assert find_problems(path) == [
        ('mmcv', 'its compiled ops', '2.1.0 without them', BUILD_MMCV)
    ]


def test_windows_ops_are_found(tmp_path):
    assert not find_problems(site_packages(tmp_path, ops='_ext.pyd'))


def test_editable_mmcv_gets_the_benefit_of_the_doubt(tmp_path):
    path = site_packages(tmp_path, ops=None)
    (tmp_path / 'mmcv' / 'version.py').unlink()
    (tmp_path / 'mmcv').rmdir()
    assert not find_problems(path)


@pytest.mark.parametrize(
    ('needs', 'problems'),
    [
        pytest.param('torch (==2.13.0)', [], id='matching-cpu-build'),
        pytest.param(
            'torch==2.12.0',
            [
                (
                    'torchvision',
                    '==0.28.* beside torch 2.13.0+cpu',
                    '0.27.0, made for torch==2.12.0',
                    "pip install 'torchvision==0.28.*'",
                )
            ],
            id='made-for-another',
        ),
    ],
)
def test_torchvision_has_to_match_torch(tmp_path, needs, problems):
    path = site_packages(tmp_path)
    add_distribution(tmp_path, 'torchvision', '0.27.0', ['numpy', needs])
    assert find_problems(path) == problems


def test_message_names_all_and_puts_mmcv_last(tmp_path):
    changes = {'mmcv': '2.2.0', 'mmengine': None, 'torch': '2.5.1'}
    with pytest.raises(ImportError) as caught:
        check_environment(site_packages(tmp_path, changes))
    assert str(caught.value) == (
        f'mmseg_ext cannot work in this environment ({sys.prefix}):\n'
        '- mmengine: needs <0.11,>=0.10.7; found not installed\n'
        "    pip install 'mmengine<0.11,>=0.10.7'\n"
        '- torch: needs >=2.6; found 2.5.1\n'
        "    pip install 'torch>=2.6'\n"
        '- mmcv: needs <2.2.0,>=2.1.0; found 2.2.0\n'
        f'    {BUILD_MMCV}\n'
        'docs/install.md says more.'
    )


def test_source_tree_without_metadata_is_not_checked(tmp_path):
    add_distribution(tmp_path, 'mmcv', '1.0.0')
    assert check_environment([str(tmp_path)]) is None


def test_requirement_is_read_from_the_metadata(tmp_path):
    path = site_packages(tmp_path)
    assert requirement('mmcv', path) == 'mmcv<2.2.0,>=2.1.0'
    assert requirement('onedl-mmcv', path) == 'onedl-mmcv<3,>=2.3.6'
    assert requirement('mmcv', []) == 'mmcv'


def test_this_environment_fits():
    assert check_environment() is None
    assert requirement('mmcv') == 'mmcv<2.2.0,>=2.1.0'


@pytest.mark.parametrize(
    ('torch', 'torchvision'),
    [
        pytest.param('2.0.1', 'torchvision==0.15.*', id='2.0'),
        pytest.param('2.13.0+cpu', 'torchvision==0.28.*', id='2.13'),
    ],
)
def test_torchvision_for(torch, torchvision):
    assert torchvision_for(torch) == torchvision


def test_ops_that_do_not_load_are_explained(tmp_path):
    library = tmp_path / 'mmcv' / '_ext.cpython-311-x86_64-linux-gnu.so'
    library.parent.mkdir()
    library.write_bytes(b'no library')
    spec = importlib.util.spec_from_file_location('mmcv._ext', library)
    with pytest.raises(ImportError) as caught:
        importlib.util.module_from_spec(spec)
    explained = explain_import_error(caught.value)
    assert isinstance(explained, ImportError)
    assert str(explained) == (
        "mmcv's compiled ops do not fit the installed PyTorch: "
        f'{caught.value}\nBuild them again:\n'
        f'    {rebuild_mmcv(mmcv_requirement())}'
    )


@pytest.mark.parametrize(
    ('error', 'command'),
    [
        pytest.param(
            ImportError(
                'libGL.so.1: cannot open shared object file',
                path='/site-packages/cv2/cv2.abi3.so',
            ),
            'apt-get install libgl1',
            id='opencv',
        ),
        pytest.param(
            RuntimeError('operator torchvision::nms does not exist'),
            'pip uninstall -y torchvision',
            id='torchvision',
        ),
    ],
)
def test_other_failures_are_explained(error, command):
    explained = explain_import_error(error)
    assert isinstance(explained, ImportError)
    lines = str(explained).splitlines()
    assert str(error) in lines[0]
    assert f'    {command}' in lines


def test_unknown_error_is_left_alone():
    error = ModuleNotFoundError('no module', name='mmseg_ext.nowhere')
    assert explain_import_error(error) is error


@pytest.mark.parametrize(
    ('error', 'told'),
    [
        pytest.param(
            "RuntimeError('never seen')",
            'RuntimeError: never seen; None',
            id='unknown',
        ),
        pytest.param(
            "RuntimeError('operator torchvision::nms does not exist')",
            'ImportError: the installed torchvision is built for another '
            'PyTorch, such as one for CUDA beside a CPU build: operator '
            'torchvision::nms does not exist; RuntimeError',
            id='known',
        ),
    ],
)
def test_cause_of_a_failed_import(error, told):
    """An error that nothing is known of is raised as it is."""
    program = (
        'import sys\n'
        'class Broken:\n'
        '    def find_spec(name, path=None, target=None):\n'
        "        if name == 'mmseg_ext.datasets':\n"
        f'            raise {error}\n'
        'sys.meta_path.insert(0, Broken)\n'
        'try:\n'
        '    import mmseg_ext\n'
        'except Exception as error:\n'
        '    cause = error.__cause__ and type(error.__cause__).__name__\n'
        '    line = str(error).splitlines()[0]\n'
        "    print(f'{type(error).__name__}: {line}; {cause}')\n"
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f'{told}\n'


def test_import_stops_before_anything_heavy(tmp_path):
    name = 'mmengine' if stack_of() == 'openmmlab' else 'onedl-mmengine'
    add_distribution(tmp_path, name, '0.9.0')
    program = (
        'import sys\n'
        'try:\n'
        '    import mmseg_ext\n'
        'except ImportError as error:\n'
        '    print(error)\n'
        "print({'torch', 'mmcv', 'mmengine'} & set(sys.modules))"
    )
    paths = [str(tmp_path), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
        cwd=Path(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    needed = requirement(name).removeprefix(name)
    assert lines[1] == f'- {name}: needs {needed}; found 0.9.0'
    assert lines[-1] == 'set()'


def test_without_mmdet():
    """What needs MMDet alone is left out."""
    program = (
        'from importlib.machinery import PathFinder\n'
        'find = PathFinder.find_spec\n'
        'PathFinder.find_spec = lambda name, *more: (\n'
        "    None if name.split('.')[0] == 'mmdet' else find(name, *more))\n"
        'import mmseg_ext.datasets, mmseg_ext.models\n'
        "print('IDD_Data' in mmseg_ext.datasets.__all__)\n"
        "print('NailDataset' in mmseg_ext.datasets.__all__)\n"
        "print('MMDeeplabV3' in mmseg_ext.models.__all__,"
        " 'AugFPN' in mmseg_ext.models.__all__)\n"
        'print(mmseg_ext.evaluation.__all__)\n'
        "print('AugFPN' in mmseg_ext.__all__, 'IoU' in mmseg_ext.__all__)\n"
        'try:\n'
        '    from mmseg_ext import AugFPN\n'
        'except ImportError as error:\n'
        '    print(error)\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program],
        capture_output=True,
        text=True,
        check=True,
    )
    *said, explained = done.stdout.splitlines()[-6:]
    assert said == [
        *('True', 'False', 'True False'),
        *("['EvaluationRecord', 'IoU']", 'False True'),
    ]
    assert explained.startswith('mmseg_ext.AugFPN needs the package mmdet,')
