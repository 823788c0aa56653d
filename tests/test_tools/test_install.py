import importlib.util
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'install.py'
REQUIRES = 'name = "x"\nrequires-python = ">=3.10,<3.13"\n'
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

# Stands in for pip: takes MMCV's own variables, talks like ninja under pip,
# and fails where it is told to.
FAKE_BUILD = """
import os, pathlib, sys
print('Collecting mmcv')
for step in range(1, 5):
    print(f'  [{step}/4] c++ -c {step}.cpp')
if os.environ['FORCE_CUDA'] in sys.argv[2:]:
    print('error: no such header')
    sys.exit(1)
kind = 'cuda ' + os.environ.get('TORCH_CUDA_ARCH_LIST', '')
if os.environ['FORCE_CUDA'] == '0':
    assert os.environ['CUDA_VISIBLE_DEVICES'] == ''
    kind = 'cpu'
wheel = pathlib.Path(sys.argv[1], 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl')
wheel.write_text(kind)
"""
WHEEL = 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'


@pytest.fixture(scope='module')
def install():
    spec = importlib.util.spec_from_file_location('install_tool', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine_room(install, tmp_path, monkeypatch):
    """A cache and an environment in tmp_path, and a build that is faked.

    Returns a function that says for which FORCE_CUDA the build fails. A wheel
    counts as working once it lies in its folder.
    """

    def failing_for(*values):
        monkeypatch.setattr(
            install,
            'build_command',
            lambda requirement, folder: [
                *(sys.executable, '-c', FAKE_BUILD, folder, *values)
            ],
        )

    def install_wheel_fails(requirement, folder):
        return '' if Path(folder, WHEEL).exists() else 'no such wheel'

    (tmp_path / 'venv').mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'venv'))
    monkeypatch.setattr(install, 'install_wheel_fails', install_wheel_fails)
    monkeypatch.setattr(install, 'import_fails', lambda module: '')
    return failing_for


@pytest.mark.parametrize('version', [(3, 10), (3, 11), (3, 12)])
def test_fit_python_passes(install, version):
    assert install.refuse_unfit_python(version, REQUIRES) is None


@pytest.mark.parametrize('version', [(2, 7), (3, 9), (3, 13), (4, 0)])
def test_unfit_python_gets_one_line(install, version):
    with pytest.raises(SystemExit) as caught:
        install.refuse_unfit_python(version, REQUIRES)
    assert caught.value.code == (
        f'error: mmseg_ext needs Python >=3.10, <3.13; {sys.executable} is '
        f'{version[0]}.{version[1]}. Choose another one: '
        'make PYTHON=python3.11'
    )


@pytest.mark.parametrize(
    ('changes', 'ops', 'notice'),
    [
        pytest.param({}, 'cuda', '', id='gpu-and-nvcc'),
        pytest.param({'nvcc': '13.2'}, 'cuda', '', id='nvcc-same-major'),
        pytest.param(
            {'nvcc': ''},
            'cpu',
            f'There is a GPU, but no nvcc. {CPU_OPS}',
            id='no-nvcc',
        ),
        pytest.param(
            {'nvcc': '12.8'},
            'cpu',
            f'nvcc is of CUDA 12.8, PyTorch is built for 13.0. {CPU_OPS}',
            id='nvcc-other-major',
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
def test_choose_ops(install, changes, ops, notice):
    chosen, said = install.choose_ops(install.Machine(**{**GPU, **changes}))
    assert chosen == ops
    assert said == notice


@pytest.mark.parametrize(
    ('ops', 'key'),
    [
        pytest.param('cpu', '2.13.0+cu130-cpu', id='cpu'),
        pytest.param('cuda', '2.13.0+cu130-cu130-sm80-sm90', id='cuda'),
    ],
)
def test_wheels_are_kept_apart(install, monkeypatch, tmp_path, ops, key):
    machine = install.Machine(**GPU)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert install.wheel_folder(machine, ops) == (
        tmp_path / 'mmseg_ext' / 'wheels' / key
    )
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    assert install.wheel_folder(machine, ops) == (
        tmp_path / 'home' / '.cache' / 'mmseg_ext' / 'wheels' / key
    )


@pytest.mark.parametrize(
    ('cores', 'gigabytes', 'jobs'),
    [
        pytest.param(2, 24, 2, id='few-cores'),
        pytest.param(16, 11, 4, id='little-memory'),
        pytest.param(4, 1, 1, id='at-least-one'),
    ],
)
def test_build_jobs(install, cores, gigabytes, jobs):
    assert install.build_jobs(cores, gigabytes * 1e9) == jobs


def test_user_chooses_jobs(install, monkeypatch):
    machine = install.Machine(**GPU)
    monkeypatch.delenv('MAX_JOBS', raising=False)
    assert install.build_variables(machine, 'cpu', 3)['MAX_JOBS'] == '3'
    monkeypatch.setenv('MAX_JOBS', '7')
    assert install.build_variables(machine, 'cpu', 3)['MAX_JOBS'] == '7'


def test_follow_build_reads_pip_and_ninja(install):
    lines = [
        'Collecting mmcv==2.1.0\n',
        '  [1/77] c++ -MMD -c bbox_overlaps.cpp\n',
        '  bbox_overlaps.cpp:3: warning: [2/3] is no step\n',
        '  [12/77] c++ -MMD -c ball_query.cpp\n',
        *(f'  note {number}\n' for number in range(20)),
    ]
    log = io.StringIO()
    steps = []
    last = install.follow_build(lines, log, lambda *step: steps.append(step))
    assert steps == [(1, 77), (12, 77)]
    assert log.getvalue() == ''.join(lines)
    assert last == lines[-15:]


def test_follow_build_finds_why_it_failed(install):
    why = [
        '  FAILED: [code=1] ball_query.o\n',
        '  ball_query.cpp:4:10: fatal error: no_such.h: No such file\n',
        '  RuntimeError: Error compiling objects for extension\n',
    ]
    lines = [
        *('  [1/77] c++ -MMD -c ball_query.cpp\n', '  avoid build errors\n'),
        *why[:2],
        *(f'  File "build_ext.py", line {number}\n' for number in range(30)),
        *why[2:],
        '  error: subprocess-exited-with-error\n',
        '  ERROR: Failed building wheel for mmcv\n',
    ]
    log = io.StringIO()
    assert install.follow_build(lines, log, lambda *step: None) == why
    assert log.getvalue() == ''.join(lines)


def test_progress_prints_tenths_off_a_terminal(install, capsys):
    with install.progress() as show:
        for done in range(1, 78):
            show(done, 77)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '  building mmcv: 10 %, 8 of 77'
    assert lines[-1] == '  building mmcv: 100 %, 77 of 77'
    assert len(lines) == 10


def test_build_that_fails_leaves_no_wheel(install, machine_room, tmp_path):
    machine_room('0')
    machine = install.Machine('2.13.0+cpu')
    with pytest.raises(install.InstallError) as caught:
        install.install_mmcv('mmcv==2.1.0', machine)
    log = tmp_path / 'venv' / 'mmcv-build-cpu.log'
    message = str(caught.value)
    assert message.startswith(f'building mmcv failed, {log} has it all:\n')
    assert message.endswith('error: no such header\n')
    assert log.read_text().startswith('Collecting mmcv\n  [1/4]')
    assert list(install.wheel_folder(machine, 'cpu').iterdir()) == []
    assert not (tmp_path / 'venv' / '.mmcv-ops').exists()


def test_cpu_ops_where_the_cuda_build_fails(
    install, machine_room, tmp_path, capsys
):
    machine_room('1')
    machine = install.Machine(**GPU)
    install.install_mmcv('mmcv==2.1.0', machine)
    wheel = install.wheel_folder(machine, 'cpu') / WHEEL
    assert wheel.read_text() == 'cpu'
    assert not (install.wheel_folder(machine, 'cuda') / WHEEL).exists()
    said = capsys.readouterr().out
    assert 'error: no such header' in said
    assert 'NOTE: The build for CUDA failed.' in said
    assert CPU_OPS in said

    # A second run does not try the same build again.
    machine_room('0', '1')
    install.install_mmcv('mmcv==2.1.0', machine)
    assert capsys.readouterr().out == ''


def test_cuda_ops_are_built_for_the_gpus_at_hand(install, machine_room):
    machine_room()
    machine = install.Machine(**GPU)
    install.install_mmcv('mmcv==2.1.0', machine)
    wheel = install.wheel_folder(machine, 'cuda') / WHEEL
    assert wheel.read_text() == 'cuda 8.0;9.0'


def test_kept_wheel_is_not_built_again(
    install, machine_room, tmp_path, monkeypatch, capsys
):
    machine_room()
    machine = install.Machine('2.13.0+cpu')
    install.install_mmcv('mmcv==2.1.0', machine)
    capsys.readouterr()
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'another'))
    (tmp_path / 'another').mkdir()
    machine_room('0', '1')
    install.install_mmcv('mmcv==2.1.0', machine)
    folder = install.wheel_folder(machine, 'cpu')
    assert capsys.readouterr().out == f'  with the wheel in {folder}\n'


def test_other_torch_gets_its_own_build(install, machine_room):
    machine_room()
    for version in ('2.12.0+cpu', '2.13.0+cpu'):
        machine = install.Machine(version)
        install.install_mmcv('mmcv==2.1.0', machine)
        assert (install.wheel_folder(machine, 'cpu') / WHEEL).exists()


def test_racing_builds_leave_one_whole_wheel(install, machine_room, tmp_path):
    machine_room()
    machine = install.Machine('2.13.0+cpu')
    folder = install.wheel_folder(machine, 'cpu')
    variables = install.build_variables(machine, 'cpu', 1)

    def build(number):
        log = tmp_path / f'{number}.log'
        install.build_wheel('mmcv==2.1.0', folder, variables, log)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(build, range(4)))
    assert [path.name for path in folder.iterdir()] == [WHEEL]
    assert (folder / WHEEL).read_text() == 'cpu'


def test_missing_compiler_is_named(install, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(
        install.InstallError, match=r'no-such-compiler.*build-essential'
    ):
        install.check_compiler()


def test_folder_with_other_files_is_no_environment(install, tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(install.InstallError, match='is no virtual env'):
        install.make_venv(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_environment_is_made(install, tmp_path):
    install.make_venv(tmp_path / 'venv')
    python = tmp_path / 'venv' / 'bin' / 'python'
    command = [str(python), '-c', 'import pip, sys; print(sys.prefix)']
    prefix = subprocess.run(
        command, capture_output=True, text=True, check=True
    )
    assert prefix.stdout.strip() == str(tmp_path / 'venv')


def test_help_explains_the_options():
    done = subprocess.run(
        [sys.executable, TOOL, '--help'],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ('--venv', '--torch', '--tests', '--package-only'):
        assert option in done.stdout
