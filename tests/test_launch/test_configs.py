import sys
from pathlib import Path

import mmseg
import pytest

from mmseg_ext import registry
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
    monkeypatch.setattr(registry, '__file__', str(folder / 'registry.py'))
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
            'a = [1]', {'a.7': 1}, 'cfg_options do not fit', id='entry'
        ),
        pytest.param(
            *('a = [1]', {'a.7.b': 1}, r'a is a list of 1, so a\.7 is none'),
            id='index',
        ),
        pytest.param(
            'a = [1]', {'a.0': 1}, 'cfg_options do not fit', id='number'
        ),
        pytest.param(
            *('a = 1', {'a.b': 1}, r'a has no parts .* set a as a whole'),
            id='no dict',
        ),
        pytest.param(
            *('crop_size = (1, 2)', {'crop_size.0': 1}),
            'crop_size has no parts .* set crop_size as a whole',
            id='tuple',
        ),
        pytest.param(
            *('a = 1', {'b': 1, 'b.c': 1}, 'cfg_options do not fit'),
            id='both',
        ),
        pytest.param(
            "_base_ = 'mmsegext::fpn/x.py'",
            None,
            'there is no base mmsegext::fpn/x.py.*close: mmseg_ext',
            id='package of a base',
        ),
        pytest.param(
            "_base_ = 'mmseg-ext::fpn/x.py'",
            None,
            'there is no base mmseg-ext::fpn/x.py.*close: mmseg_ext',
            id='no name of a package',
        ),
        pytest.param(
            "_base_ = ['mmseg::_base_/schedules/schedule_20k.py', "
            "'mmseg::_base_/schedules/schedule_40k.py']",
            None,
            'several files of _base_ set .*optim_wrapper, optimizer, .*: '
            'inherit only one of them, and set in this config what',
            id='keys of two bases',
        ),
    ],
)
def test_unusable_config(tmp_path, text, options, message):
    path = _config(tmp_path / 'bad.py', text)
    with pytest.raises(ValueError, match=message) as caught:
        configs.load_config(path, cfg_options=options)
    assert path in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'place', 'message'),
    [
        pytest.param('a = 1\nb = (', 'line 2', 'SyntaxError', id='syntax'),
        pytest.param('a = 1\n\nb = a / 0', 'line 3', 'division', id='error'),
        pytest.param(
            'a = 1\ndef f():\n    return x\nb = f()',
            'line 3',
            "NameError: name 'x'",
            id='error in a function',
        ),
        pytest.param(
            b'a = 1\n\nb = "\xe4"',
            '',
            'is not encoded as UTF-8: byte 0xe4 in line 3',
            id='encoding',
        ),
    ],
)
@pytest.mark.parametrize('lazy', [False, True])
def test_file_and_line_of_an_error(tmp_path, text, place, message, lazy):
    """Of the file that it stands in, the config or a base of it."""
    base = tmp_path / 'base.py'
    base.write_bytes(text if isinstance(text, bytes) else text.encode())
    above = tmp_path / 'above.py'
    above.write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n'
        '    from .base import *\n'
        if lazy
        else "_base_ = 'base.py'"
    )
    for path in (base, above):
        with pytest.raises(ValueError, match=message) as caught:
            configs.load_config(str(path))
        assert f'base.py, {place}' in str(caught.value) or not place
        assert f'{tmp_path}' in str(caught.value)
        assert '\n' not in str(caught.value)


def test_folder_in_place_of_a_config(tmp_path):
    with pytest.raises(ValueError, match='is a folder: expected a config'):
        configs.load_config(str(tmp_path))


CONFIG_WITH_KEYS = """
train_cfg = dict(max_iters=3)
model = dict(decode_head=dict(num_classes=2), heads=[dict(depth=1)])
train_dataloader = dict(dataset=dict(ann_file='x'))
"""


@pytest.mark.parametrize(
    ('key', 'near'),
    [
        pytest.param('train_cfg.max_iter', 'train_cfg.max_iters', id='letter'),
        pytest.param('train_cg.max_iters', 'train_cfg.max_iters', id='above'),
        pytest.param(
            'ann_file', 'train_dataloader.dataset.ann_file', id='inner'
        ),
        pytest.param(
            'model.num_classes', 'model.decode_head.num_classes', id='level'
        ),
        pytest.param(
            'model.heads.0.dept', 'model.heads.0.depth', id='in a list'
        ),
        pytest.param(
            'model.decode_hed.x.y', 'model.decode_head', id='new below'
        ),
        pytest.param('model.xyz', None, id='far from all'),
    ],
)
def test_new_keys_are_told(tmp_path, key, near):
    path = _config(tmp_path / 'a.py', CONFIG_WITH_KEYS)
    told = []
    options = {
        key: 1,
        # These are there, or are the runner's.
        'train_cfg.max_iters': 2,
        'model.heads.0.depth': 2,
        'randomness.seed': 0,
        'load_from': 'x',
        'tta_model': {},
    }
    configs.load_config(path, cfg_options=options, on_warning=told.append)
    [line] = told
    assert f'no {key}, which is added' in line
    nearest = line.rpartition('the nearest key that it has is ')[2]
    assert nearest == (near or line)


def test_keys_that_are_used_up_are_not_near(tmp_path):
    path = _config(
        tmp_path / 'a.py',
        'optimizer = dict(lr=1)\noptim_wrapper = dict(optimizer=optimizer)',
    )
    told = []
    configs.load_config(path, None, {'lr': 3}, told.append)
    [line] = told
    assert line.endswith('that it has is optim_wrapper.optimizer.lr')


@pytest.mark.parametrize('key', ['', 'a..b', '.a', 'a.'])
def test_key_with_an_empty_part(tmp_path, key):
    path = _config(tmp_path / 'a.py', 'a = dict(b=1)')
    with pytest.raises(ValueError, match='expected names and numbers') as e:
        configs.load_config(path, cfg_options={key: 1})
    assert repr(key) in str(e.value)


def test_where_something_can_be_written(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    (tmp_path / 'hanging').symlink_to(tmp_path / 'gone')
    monkeypatch.chdir(tmp_path)
    for path in ('.', 'new', 'new/er', str(tmp_path / 'new')):
        configs.check_output('out', path)
    for path in ('file', 'new', 'new/er.pkl'):
        configs.check_output('out', path, folder=False)
    for path, folder, message in (
        ('file', True, "^out='file' is a file: expected a folder"),
        ('file/a/b', True, 'file is not a folder, so no folder can be'),
        ('file/a', False, 'file is not a folder, so no file can be'),
        ('hanging/a', True, 'hanging is not a folder'),
        ('.', False, "^out='.' is a folder: expected a file"),
    ):
        with pytest.raises(ValueError, match=message):
            configs.check_output('out', path, folder)
    # Root may write everywhere.
    monkeypatch.setattr(configs.os, 'access', lambda *_: False)
    with pytest.raises(ValueError, match=f'no permission.*{tmp_path}$'):
        configs.check_output('out', 'new/er')


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


def test_calls_are_no_values():
    pair = "pipeline=[dict(type='Resize',scale=(160,120))]"
    with pytest.raises(ValueError, match='expected numbers') as caught:
        configs.parse_pairs([pair])
    assert 'Resize' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        ('data/my color', 'data/my color'),
        ('"data/my color"', 'data/my color'),
        ("a' b", "a' b"),
        (' data/x ', 'data/x'),
        ('a=b = c', 'a=b = c'),
        ('1, 2', [1, 2]),
        ('[a b, (1, 2)]', ['ab', (1, 2)]),
        (' 5', 5),
        ('None', None),
    ],
)
def test_texts_keep_their_blanks(value, expected):
    """As paths have them; mmengine takes out those of lists and tuples."""
    pairs = ['data_root=earlier one', f'data_root={value}', 'x=1']
    assert configs.parse_pairs(pairs) == {'data_root': expected, 'x': 1}


@pytest.mark.parametrize('end', ['', '.py'])
def test_configs_of_other_packages(end):
    """By the name by which configs inherit them."""
    name = f'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512{end}'
    found = configs.find_config(name)
    expected = Path(mmseg.__file__).parent / '.mim/configs/fcn'
    assert found.parent == expected
    assert found.stem == 'fcn_r50-d8_4xb4-80k_ade20k-512x512'
    for wrong in ('mmseg::fcn/none.py', 'nobody::x/y.py'):
        with pytest.raises(ValueError, match=f'there is no config {wrong}'):
            configs.find_config(wrong)


def test_a_config_beside_without_its_ending(tmp_path, monkeypatch):
    (tmp_path / 'own.py').write_text('')
    monkeypatch.chdir(tmp_path)
    assert configs.find_config('own') == Path('own.py')


def test_near_options(tmp_path):
    """Among those that stand for several keys, too."""
    (tmp_path / 'own.py').write_text("default_scope = 'mmseg'\n")
    told = []
    options = {'batchsize': 2, 'max_iter': 3}
    configs.load_config(str(tmp_path / 'own.py'), None, options, told.append)
    assert [line.rpartition(' ')[2] for line in told] == [
        'batch_size',
        'max_iters',
    ]
