import multiprocessing
import sys
from pathlib import Path

import pytest

from mmseg_ext.launch import configs


@pytest.fixture(autouse=True)
def _own_search_path(monkeypatch):
    """Forget afterwards what was imported, and from where."""
    monkeypatch.setattr(sys, 'path', list(sys.path))
    yield
    for name in list(sys.modules):
        if name.startswith(('potholes', 'asphalt')):
            del sys.modules[name]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folders of a config, of its base, and the current one."""
    folders = [tmp_path / name for name in ('child', 'base', 'here')]
    for folder in folders:
        folder.mkdir()
    monkeypatch.chdir(folders[-1])
    return folders


def _config(folders, names=('potholes',), text=''):
    child, base, _ = folders
    (base / 'base.py').write_text(
        f'custom_imports = dict(imports={list(names)!r})\n'
    )
    path = child / 'config.py'
    path.write_text(f"_base_ = '../base/base.py'\n{text}")
    return str(path)


@pytest.mark.parametrize('place', [0, 1, 2], ids=['child', 'base', 'here'])
def test_where_a_module_may_lie(folders, place):
    (folders[place] / 'potholes.py').write_text('import asphalt')
    (folders[place] / 'asphalt.py').write_text('DEPTH = 3')
    before = list(sys.path)
    told = []
    configs.load_config(_config(folders), on_warning=told.append)
    assert Path(sys.modules['potholes'].__file__).parent == folders[place]
    assert sys.modules['asphalt'].DEPTH == 3
    assert sys.path[: len(before)] == before, 'what is installed comes first'
    assert told == []


def test_spawned_processes_find_it(folders):
    (folders[0] / 'potholes.py').write_text('def depth(x):\n    return x + 1')
    configs.load_config(_config(folders))
    depth = sys.modules['potholes'].depth
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        assert pool.map(depth, [1, 2]) == [2, 3]


def test_config_nearest_to_the_run_comes_first(folders):
    for folder in folders:
        (folder / 'potholes.py').write_text('')
    configs.load_config(_config(folders))
    assert Path(sys.modules['potholes'].__file__).parent == folders[0]


def test_nothing_is_searched_without_need(folders):
    before = list(sys.path)
    configs.load_config(_config(folders, ['mmseg_ext', 'json.tool']))
    assert sys.path == before


def test_list_of_modules(folders):
    """As a user may write it; others get what mmengine expects."""
    (folders[0] / 'config.py').write_text("custom_imports = ['mmseg_ext']")
    cfg = configs.load_config(str(folders[0] / 'config.py'))
    assert cfg.custom_imports == dict(imports=['mmseg_ext'])


def test_names_that_are_none(folders):
    with pytest.raises(ValueError, match='expected names of modules'):
        configs.load_config(_config(folders, [1]))


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('potholes.py', 'potholes'),
        ('.potholes', 'potholes'),
        ('./potholes.py', 'potholes'),
        ('sets/potholes.py', 'sets.potholes'),
        ('', None),
    ],
)
def test_path_in_place_of_a_name(folders, name, meant):
    (folders[0] / 'potholes.py').write_text('')
    with pytest.raises(ValueError, match='expected the name of a mod') as e:
        configs.load_config(_config(folders, [name]))
    assert f'names {name!r}' in str(e.value)
    end = f"without '.py' and folders: {meant!r}" if meant else 'and folders'
    assert str(e.value).endswith(end)


@pytest.mark.parametrize('name', ['potholes', 'potholes.sets'])
def test_module_that_is_not_there(folders, name):
    if '.' in name:
        (folders[2] / 'potholes').mkdir()
        (folders[2] / 'potholes' / '__init__.py').write_text('')
    path = _config(folders, [name])
    with pytest.raises(ValueError, match=f'no module {name}, which') as caught:
        configs.load_config(path)
    line = str(caught.value)
    assert f'neither installed nor in {", ".join(map(str, folders))};' in line
    assert path in line
    assert f'put {name.replace(".", "/")}.py there' in line
    assert 'PYTHONPATH=.' in line
    assert '\n' not in line


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        pytest.param('import json\nimport gone', 'No module named', id='gone'),
        pytest.param('x = 1\nx = x / 0', 'ZeroDivisionError', id='error'),
        pytest.param('x = 1\nx = (', 'SyntaxError', id='syntax'),
        pytest.param(
            'import json\njson.loads("{")', 'JSONDecodeError', id='library'
        ),
        pytest.param('import sys\nsys.exit(3)', 'SystemExit: 3', id='exit'),
    ],
)
def test_module_that_fails(folders, text, message):
    module = folders[1] / 'potholes.py'
    module.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        configs.load_config(_config(folders))
    assert str(caught.value).startswith(
        f'{module}, line 2: importing potholes fails'
    )
    assert '\n' not in str(caught.value)


def test_module_that_need_not_be_there(folders):
    text = 'custom_imports = dict(allow_failed_imports=True)'
    told = []
    configs.load_config(_config(folders, text=text), on_warning=told.append)
    [line] = told
    assert 'there is no module potholes' in line


def test_module_that_an_installed_one_hides(folders):
    """It is not imported, since the other one may be needed."""
    (folders[2] / 'json.py').write_text('')
    told = []
    configs.load_config(_config(folders, ['json']), on_warning=told.append)
    [line] = told
    assert f'and not {folders[2] / "json.py"}' in line
