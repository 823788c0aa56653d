"""MMCV's ops, from an sdist to a wheel; the sdists here are small ones."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mmcv_ops
from steps import InstallError

SOURCES = 'mmcv/ops/csrc/pytorch'
WHEEL = 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'

#: What MMCV 2.1's setup.py does before it builds.
GET_VERSION = """
def get_version():
    version_file = 'mmcv/version.py'
    with open(version_file, encoding='utf-8') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']
"""

#: Builds an extension module of what it finds, as MMCV does.
SETUP = (
    GET_VERSION
    + """
import glob
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

folder = './mmcv/ops/csrc/pytorch/'
files = glob.glob(folder + '*.cpp') + glob.glob(folder + 'cpu/*.cpp')
setup(
    name='mmcv',
    version=get_version(),
    packages=['mmcv'],
    ext_modules=[CppExtension('mmcv._ext', files)],
    cmdclass={'build_ext': BuildExtension},
)
"""
)

#: The module: says what each op gives.
BIND = """
#include <Python.h>
int first(); int second(); int third();
static PyObject* sum(PyObject*, PyObject*) {
  return PyLong_FromLong(100 * first() + 10 * second() + third());
}
static PyMethodDef methods[] = {
    {"sum", sum, METH_NOARGS, ""}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_ext", "", -1, methods};
PyMODINIT_FUNC PyInit__ext() { return PyModule_Create(&module); }
"""


def op(name, value, helper):
    """An op that has its value from a helper of its own file."""
    return (
        f'static int {helper}() {{ return {value}; }}\n'
        f'int {name}() {{ return {helper}(); }}\n'
    )


def files_of(helpers):
    first, second, third = helpers
    return {
        f'{SOURCES}/bind.cpp': BIND,
        f'{SOURCES}/first.cpp': op('first', 1, first),
        f'{SOURCES}/cpu/second.cpp': op('second', 2, second),
        f'{SOURCES}/cpu/third.cpp': op('third', 3, third),
    }


def write_sdist(folder, files=(), setup=SETUP):
    """Write mmcv-2.1.0.tar.gz."""
    files = {
        'PKG-INFO': 'Metadata-Version: 2.1\nName: mmcv\nVersion: 2.1.0\n',
        'setup.py': setup,
        'mmcv/__init__.py': '',
        'mmcv/version.py': "__version__ = '2.1.0'\n",
        f'{SOURCES}/info.cpp': '',
        **dict(files),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'mmcv-2.1.0.tar.gz'
    with tarfile.open(path, 'w:gz') as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f'mmcv-2.1.0/{name}')
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder in which pip finds sdists, and nowhere else."""
    for name in [name for name in os.environ if name.startswith('PIP_')]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'index'))
    return tmp_path / 'index'


def fetch(folder):
    folder.mkdir()
    return mmcv_ops.fetch_sdist('mmcv<2.2.0,>=2.1.0', folder)


def test_sdist_is_fetched_without_running_it(index, tmp_path):
    write_sdist(index, setup='raise SystemExit("was run")')
    tree = fetch(tmp_path / 'out')
    assert tree == tmp_path / 'out' / 'mmcv-2.1.0'
    assert (tree / 'setup.py').read_text() == 'raise SystemExit("was run")'
    assert (tree / SOURCES / 'info.cpp').exists()


def test_missing_release_is_named(index, tmp_path):
    index.mkdir()
    with pytest.raises(
        InstallError,
        match=r'could not fetch the sources of mmcv<2.2.0,>=2.1.0:\n'
        r'(.*\n)*.*No matching distribution found',
    ):
        fetch(tmp_path / 'out')


def test_damaged_sdist_is_named(index, tmp_path):
    path = write_sdist(index)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InstallError, match='could not fetch the sources'):
        fetch(tmp_path / 'out')


def test_archive_that_is_cut_off_is_named(tmp_path):
    path = write_sdist(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        InstallError, match=r'mmcv-2.1.0.tar.gz cannot be unpacked'
    ):
        mmcv_ops._unpack(path)


def test_damage_that_only_the_check_sum_shows_is_named(tmp_path):
    """tarfile reads no further than the end of the archive."""
    path = write_sdist(tmp_path)
    data = bytearray(path.read_bytes())
    # The check sum of gzip: 4 bytes before the length, at the end.
    data[-8] ^= 1
    path.write_bytes(data)
    with tarfile.open(path) as archive:
        archive.getmembers()
    with pytest.raises(InstallError, match=r'cannot be unpacked .*CRC'):
        mmcv_ops._unpack(path)


def test_sdist_of_another_project_is_named(tmp_path):
    with tarfile.open(tmp_path / 'mmcv-2.1.0.tar.gz', 'w:gz') as archive:
        archive.addfile(tarfile.TarInfo('mmcv-2.1.0/setup.py'))
    with pytest.raises(InstallError, match=r'holds no mmcv-2\.1\.0/mmcv/ops'):
        mmcv_ops._unpack(tmp_path / 'mmcv-2.1.0.tar.gz')


def test_hash_of_the_index_is_checked(index, tmp_path, monkeypatch):
    page = tmp_path / 'simple' / 'mmcv'
    path = write_sdist(page)
    (page / 'index.html').write_text(
        f'<a href="{path.name}#sha256={"0" * 64}">{path.name}</a>'
    )
    monkeypatch.delenv('PIP_NO_INDEX')
    monkeypatch.delenv('PIP_FIND_LINKS')
    monkeypatch.setenv('PIP_INDEX_URL', (tmp_path / 'simple').as_uri())
    with pytest.raises(InstallError) as caught:
        fetch(tmp_path / 'out')
    assert f'Expected sha256 {"0" * 64}' in str(caught.value)


def test_setup_runs_on_this_python(tmp_path, monkeypatch):
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / 'version.py').write_text("__version__ = '2.1.0'\n")
    setup = tmp_path / 'setup.py'
    rest = '# the rest\n'
    setup.write_text(GET_VERSION + rest)
    mmcv_ops.mend_setup(tmp_path)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(setup.read_text(), scope)
    assert scope['get_version']() == '2.1.0'
    changed = [
        line
        for line in setup.read_text().splitlines()
        if line not in (GET_VERSION + rest).splitlines()
    ]
    assert len(changed) == 1


def test_other_setup_is_left_alone(tmp_path):
    (tmp_path / 'setup.py').write_text('setup(version="2.3.6")\n')
    mmcv_ops.mend_setup(tmp_path)
    assert (tmp_path / 'setup.py').read_text() == 'setup(version="2.3.6")\n'


def write_tree(tmp_path, names):
    root = tmp_path / SOURCES
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'// {name}\n')
    return root


def test_units_hold_each_file_once(tmp_path):
    names = [
        *(f'op{number:02}.cpp' for number in range(57)),
        *(f'cpu/op{number:02}.cpp' for number in range(16)),
        *('cpu/psamask.cpp', 'cpu/roi_align.cpp', 'roi_align.cpp'),
        *(f'cuda/op{number:02}.cu' for number in range(20)),
        'cuda/cudabind.cpp',
    ]
    root = write_tree(tmp_path, names)

    units = mmcv_ops.make_units(tmp_path)

    left = {
        str(path.relative_to(root))
        for path in root.rglob('*')
        if path.suffix in ('.cpp', '.cu')
    }
    alone = {'cpu/psamask.cpp', 'cpu/roi_align.cpp', 'cuda/cudabind.cpp'}
    assert left - alone == {
        *('unit_1.cpp', 'unit_2.cpp', 'cpu/unit_1.cpp'),
        *(f'cuda/unit_{number}.cu' for number in (1, 2, 3)),
    }
    included = []
    for unit in left - alone:
        for line in (root / unit).read_text().splitlines():
            part = line.removeprefix('#include "').removesuffix('"')
            text = (root / unit).with_name(part).read_text()
            included.append(text.removeprefix('// ').strip())
    assert sorted([*included, *alone]) == sorted(names)
    assert sum(map(len, units.values())) == len(included)


def test_dissolved_units_leave_the_files_as_they_were(tmp_path):
    names = ['a.cpp', 'b.cpp', 'cpu/a.cpp', 'cuda/a.cu', 'cuda/b.cu']
    root = write_tree(tmp_path, names)
    units = mmcv_ops.make_units(tmp_path)
    # A unit of one file is none.
    assert units.keys() == {'unit_1', 'cuda/unit_1'}
    for key, parts in units.items():
        mmcv_ops.dissolve_unit(tmp_path, key, parts)
    there = {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob('*')
        if path.is_file()
    }
    assert there == {name: f'// {name}\n' for name in names}


def build(index, tmp_path, files):
    """Build for real; give the wheel's folder, the log and the steps."""
    write_sdist(index, files)
    folder, log = tmp_path / 'store', tmp_path / 'log'
    folder.mkdir()
    steps = []
    variables = mmcv_ops.build_variables(
        mmcv_ops.Machine('2.13.0+cpu'), 'cpu', 1
    )
    try:
        mmcv_ops.build_wheel(
            'mmcv==2.1.0', folder, variables, log, lambda *s: steps.append(s)
        )
    finally:
        left = [path.name for path in folder.iterdir()]
    return left, log.read_text(), steps


def sum_of(wheel, tmp_path):
    """Call the extension of a wheel in a fresh Python."""
    shutil.unpack_archive(wheel, tmp_path / 'site', 'zip')
    done = subprocess.run(
        [sys.executable, '-c', 'from mmcv._ext import sum; print(sum())'],
        env={**os.environ, 'PYTHONPATH': str(tmp_path / 'site')},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_wheel_is_built_of_units(index, tmp_path):
    files = files_of(('help_1', 'help_2', 'help_3'))
    (wheel,), log, steps = build(index, tmp_path, files)
    assert steps[-1] == (2, 2)
    assert 'unit_1.cpp' in log
    assert 'second.cpp' not in log
    # Python's own flags are kept, and -g0 comes after its -g.
    commands = re.findall(r'^.* -c \S+/unit_1\.cpp .*$', log, re.M)
    assert len(commands) == 2
    for command in commands:
        assert re.search(r' -DNDEBUG .* -g0 ', command)
    assert sum_of(tmp_path / 'store' / wheel, tmp_path) == 123


def test_files_that_clash_are_compiled_one_by_one(index, tmp_path, capsys):
    files = files_of(('help_1', 'same', 'same'))
    (wheel,), log, _ = build(index, tmp_path, files)
    assert 'cpu/unit_1 does not compile' in capsys.readouterr().out
    assert 'second.cpp' in log
    assert sum_of(tmp_path / 'store' / wheel, tmp_path) == 123


def test_error_of_a_file_is_told_and_no_wheel_left(index, tmp_path):
    files = files_of(('help_1', 'help_2', 'help_3'))
    files[f'{SOURCES}/cpu/third.cpp'] = '#include "no_such.h"\n'
    with pytest.raises(InstallError) as caught:
        build(index, tmp_path, files)
    log = tmp_path / 'log'
    message = str(caught.value)
    assert message.startswith(f'building mmcv failed, {log} has it all:\n')
    assert 'no_such.h: No such file' in message
    assert list((tmp_path / 'store').iterdir()) == []


def follow(lines):
    log, steps = io.StringIO(), []
    result = mmcv_ops.follow_build(lines, log, lambda *s: steps.append(s))
    assert log.getvalue() == ''.join(lines)
    return *result, steps


def test_follow_build_reads_pip_and_ninja():
    lines = [
        'Processing mmcv-2.1.0\n',
        '  [1/7] c++ -MMD -c unit_1.cpp\n',
        '  unit_1.cpp:3: warning: [2/3] is no step\n',
        '  [5/7] c++ -MMD -c cpu/unit_1.cpp\n',
        *(f'  note {number}\n' for number in range(20)),
    ]
    last, failed, steps = follow(lines)
    assert steps == [(1, 7), (5, 7)]
    assert last == lines[-15:]
    assert failed == set()


def test_follow_build_finds_what_failed_and_why():
    why = [
        '  FAILED: [code=1] /t/mmcv/ops/csrc/pytorch/cpu/unit_1.o \n',
        '  ball_query.cpp:4:10: fatal error: no_such.h: No such file\n',
        '  FAILED: /t/mmcv/ops/csrc/pytorch/unit_2.o\n',
        '  FAILED: /t/mmcv/ops/csrc/pytorch/cpu/psamask.o\n',
        '  RuntimeError: Error compiling objects for extension\n',
    ]
    lines = [
        *('  [1/7] c++ -MMD -c ball_query.cpp\n', '  avoid build errors\n'),
        *why[:4],
        *(f'  File "build_ext.py", line {number}\n' for number in range(30)),
        *why[4:],
        '  error: subprocess-exited-with-error\n',
        '  ERROR: Failed building wheel for mmcv\n',
    ]
    last, failed, _ = follow(lines)
    assert last == why
    assert failed == {'cpu/unit_1', 'unit_2'}


@pytest.mark.parametrize(
    ('cores', 'gigabytes', 'jobs'),
    [
        pytest.param(2, 24, 2, id='few-cores'),
        pytest.param(16, 11, 4, id='little-memory'),
        pytest.param(4, 1, 1, id='at-least-one'),
    ],
)
def test_build_jobs(cores, gigabytes, jobs):
    assert mmcv_ops.build_jobs(cores, gigabytes * 1e9) == jobs


def variables_for(ops='cpu', **arguments):
    machine = mmcv_ops.Machine(
        '2.13.0+cu130', '13.0', True, ('8.0', '9.0'), '13.0'
    )
    return mmcv_ops.build_variables(machine, ops, 3, **arguments)


def test_user_chooses_jobs_and_flags(monkeypatch):
    for name in ('MAX_JOBS', 'CFLAGS', 'CXXFLAGS'):
        monkeypatch.delenv(name, raising=False)
    assert variables_for()['MAX_JOBS'] == '3'
    python = sysconfig.get_config_var('CFLAGS')
    assert variables_for()['CFLAGS'].split() == [*python.split(), '-g0']
    assert 'CXXFLAGS' not in variables_for()
    monkeypatch.setenv('MAX_JOBS', '7')
    monkeypatch.setenv('CFLAGS', '-march=native')
    monkeypatch.setenv('CXXFLAGS', '-O2')
    assert variables_for()['MAX_JOBS'] == '7'
    assert variables_for()['CFLAGS'] == f'{python} -march=native -g0'
    assert variables_for()['CXXFLAGS'] == f'{python} -O2 -g0'


def test_ninja_of_the_environment_is_found(tmp_path, monkeypatch):
    """Also where it is not activated and the machine has none."""
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'bin' / 'python'))
    monkeypatch.setenv('PATH', '/usr/bin')
    assert variables_for()['PATH'] == f'{tmp_path}/bin:/usr/bin'


@pytest.mark.parametrize('jobs', ['0', '-1', 'all'])
def test_wrong_number_of_jobs_is_named(monkeypatch, jobs):
    monkeypatch.setenv('MAX_JOBS', jobs)
    with pytest.raises(InstallError, match=f'MAX_JOBS={jobs}: expected'):
        variables_for()


def test_variables_say_what_is_built():
    cpu, cuda = variables_for('cpu'), variables_for('cuda')
    assert (cpu['FORCE_CUDA'], cpu['CUDA_VISIBLE_DEVICES']) == ('0', '')
    assert cuda['FORCE_CUDA'] == '1'
    assert cuda['TORCH_CUDA_ARCH_LIST'] == '8.0;9.0'
    assert 'CUDA_HOME' not in cuda
    own = variables_for('cuda', cuda_home=Path('/env/cuda'))
    assert own['CUDA_HOME'] == '/env/cuda'


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(
        InstallError, match=r'no-such-compiler.*build-essential'
    ):
        mmcv_ops.check_compiler()
    # Set and empty is not set.
    monkeypatch.setenv('CXX', '')
    assert mmcv_ops.check_compiler() is None


def test_missing_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        mmcv_ops.sysconfig, 'get_path', lambda name: str(tmp_path)
    )
    version = '{}.{}'.format(*sys.version_info)
    with pytest.raises(
        InstallError, match=rf'no {tmp_path}/Python.h .*python{version}-dev'
    ):
        mmcv_ops.check_compiler()


@pytest.mark.parametrize(('free', 'fits'), [(0.2e9, False), (0.4e9, True)])
def test_room_is_looked_for_first(monkeypatch, tmp_path, free, fits):
    usage = namedtuple('usage', 'free')(free)
    monkeypatch.setattr(mmcv_ops.shutil, 'disk_usage', lambda folder: usage)
    if fits:
        assert mmcv_ops.check_space(tmp_path, 'cpu') is None
        return
    with pytest.raises(InstallError) as caught:
        mmcv_ops.check_space(tmp_path, 'cpu')
    assert str(caught.value) == (
        f"building MMCV's ops takes 0.3 GB in {tmp_path}, where 0.2 GB are "
        'free. Make room, or choose a folder on another disk: '
        'XDG_CACHE_HOME=...'
    )


# Stands in for a build that goes on until it is killed.
ENDLESS = """
import sys, time
sys.path.insert(0, {install!r})
import mmcv_ops
from pathlib import Path

def build_command(tree, folder):
    folder.mkdir()
    (folder / 'mmcv-2.1.0-py3-none-any.whl').write_bytes(b'half of it')
    return [sys.executable, '-c', 'import time; time.sleep(60)']

mmcv_ops.build_command = build_command
folder = Path(sys.argv[1])
with mmcv_ops.alone_in(folder):
    mmcv_ops.build_wheel('mmcv', folder, {{}}, folder / 'log', print)
"""


def test_killed_build_leaves_nothing_that_counts(index, tmp_path):
    write_sdist(index)
    folder = tmp_path / 'store'
    program = ENDLESS.format(install=str(Path(mmcv_ops.__file__).parent))
    build = subprocess.Popen(
        [sys.executable, '-c', program, folder], start_new_session=True
    )
    while not list(folder.glob('.building-*/wheels/*.whl')):
        assert build.poll() is None
        time.sleep(0.05)
    os.killpg(build.pid, signal.SIGKILL)
    build.wait()
    assert list(folder.glob('*.whl')) == []

    with mmcv_ops.alone_in(folder):
        assert list(folder.glob('.building-*')) == []


def test_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'cache').touch()
    with (
        pytest.raises(
            InstallError,
            match=r'Not a directory\. Choose another folder: XDG_',
        ),
        mmcv_ops.alone_in(tmp_path / 'cache' / 'wheels'),
    ):
        pass


def test_builds_into_a_folder_take_turns(tmp_path):
    inside = []

    def work(number):
        with mmcv_ops.alone_in(tmp_path):
            inside.append(number)
            mine = tmp_path / f'.building-{number}'
            mine.mkdir()
            time.sleep(0.05)
            # Another one would have removed it.
            assert mine.exists()
            mine.rmdir()
            inside.append(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert inside[::2] == inside[1::2]
    assert sorted(inside[::2]) == [0, 1, 2, 3]
