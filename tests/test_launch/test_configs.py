import sys

import pytest

from mmseg_ext.launch import configs


def _config(path, text=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"default_scope = 'mmseg'\n{text}")
    return str(path)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package folder in place of that of mmseg_ext."""
    folder = tmp_path / 'site' / 'mmseg_ext'
    folder.mkdir(parents=True)
    monkeypatch.setattr(
        configs.mmseg_ext, '__file__', str(folder / '__init__.py')
    )
    return folder


def test_path_of_a_config_comes_first(package, tmp_path, monkeypatch):
    _config(package / '.mim' / 'configs' / 'a' / 'one.py')
    _config(tmp_path / 'one.py')
    monkeypatch.chdir(tmp_path)
    assert configs.find_config('one.py').resolve() == tmp_path / 'one.py'


@pytest.mark.parametrize('name', ['one.py', 'one', 'elsewhere/one.py'])
@pytest.mark.parametrize(
    'root', ['mmseg_ext/.mim/configs', 'configs'], ids=['wheel', 'checkout']
)
def test_name_of_a_config(package, root, name):
    config = package.parent / root / 'a' / 'one.py'
    _config(config)
    assert configs.find_config(name) == config


def test_no_such_config(package):
    root = package / '.mim' / 'configs'
    _config(root / 'deeplabv3_r50.py')
    with pytest.raises(ValueError, match='no config deeplabv3_r5') as e:
        configs.find_config('deeplabv3_r5.py')
    assert 'close: deeplabv3_r50' in str(e.value)
    assert str(root) in str(e.value)


def test_name_of_two_configs(package):
    root = package / '.mim' / 'configs'
    paths = [_config(root / folder / 'one.py') for folder in 'ab']
    with pytest.raises(ValueError, match='name of several configs') as e:
        configs.find_config('one')
    assert all(path in str(e.value) for path in paths)


@pytest.mark.parametrize(
    ('own', 'given', 'expected'),
    [
        pytest.param('', None, './work_dirs/tiny', id='name of the config'),
        pytest.param("work_dir = 'a'", None, 'a', id='of the config'),
        pytest.param("work_dir = 'a'", 'b', 'b', id='of the command line'),
    ],
)
def test_work_dir(tmp_path, own, given, expected):
    cfg = configs.load_config(_config(tmp_path / 'tiny.py', own), given)
    assert cfg.work_dir == expected


def test_options_change_the_config(tmp_path):
    path = _config(tmp_path / 'a.py', 'a = dict(b=[dict(x=1), dict(x=2)])')
    cfg = configs.load_config(path, cfg_options={'a.b.1.x': 5, 'c': 'd'})
    assert cfg.a.b == [dict(x=1), dict(x=5)]
    assert cfg.c == 'd'


@pytest.mark.parametrize(
    ('text', 'options', 'message'),
    [
        pytest.param('a = (', None, r'cannot be read.*SyntaxError', id='code'),
        pytest.param(
            "_base_ = './gone.py'", None, r'cannot be read.*gone', id='base'
        ),
        pytest.param(
            "default_scope = 'mmgone'",
            None,
            'needs the package mmgone .*mim install mmgone',
            id='package',
        ),
        pytest.param(
            'a = [1]', {'a.7': 1}, 'cfg_options do not fit', id='index'
        ),
        pytest.param(
            'a = [1]', {'a.0': 1}, 'cfg_options do not fit', id='number'
        ),
        pytest.param(
            'a = 1', {'a.b': 1}, 'cfg_options do not fit', id='no dict'
        ),
    ],
)
def test_unusable_config(tmp_path, text, options, message):
    path = _config(tmp_path / 'bad.py', text)
    with pytest.raises(ValueError, match=message) as caught:
        configs.load_config(path, cfg_options=options)
    assert path in str(caught.value)
    assert '\n' not in str(caught.value)


def test_detector_without_mmdet(tmp_path, monkeypatch):
    path = _config(tmp_path / 'det.py', "default_scope = 'mmdet'")
    configs.load_config(path)
    monkeypatch.setitem(sys.modules, 'mmdet', None)
    with pytest.raises(ValueError, match=r'needs the package mmdet'):
        configs.load_config(path)


@pytest.mark.parametrize('pair', ['lr', 'a=[1,2'])
def test_malformed_pairs(pair):
    with pytest.raises(ValueError, match='expected KEY=VALUE pairs') as caught:
        configs.parse_pairs(['x=1', pair])
    assert f"got 'x=1 {pair}'" in str(caught.value)
