import sys

import pytest
from mmengine.config import Config

from mmseg_ext.launch import runs


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
        runs.mmseg_ext, '__file__', str(folder / '__init__.py')
    )
    return folder


def test_path_of_a_config_comes_first(package, tmp_path, monkeypatch):
    _config(package / '.mim' / 'configs' / 'a' / 'one.py')
    _config(tmp_path / 'one.py')
    monkeypatch.chdir(tmp_path)
    assert runs.find_config('one.py').resolve() == tmp_path / 'one.py'


@pytest.mark.parametrize('name', ['one.py', 'one', 'elsewhere/one.py'])
@pytest.mark.parametrize(
    'root', ['mmseg_ext/.mim/configs', 'configs'], ids=['wheel', 'checkout']
)
def test_name_of_a_config(package, root, name):
    config = package.parent / root / 'a' / 'one.py'
    _config(config)
    assert runs.find_config(name) == config


def test_no_such_config(package):
    root = package / '.mim' / 'configs'
    _config(root / 'deeplabv3_r50.py')
    with pytest.raises(ValueError, match='no config deeplabv3_r5') as e:
        runs.find_config('deeplabv3_r5.py')
    assert 'close: deeplabv3_r50' in str(e.value)
    assert str(root) in str(e.value)


def test_name_of_two_configs(package):
    root = package / '.mim' / 'configs'
    paths = [_config(root / folder / 'one.py') for folder in 'ab']
    with pytest.raises(ValueError, match='name of several configs') as e:
        runs.find_config('one')
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
    cfg = runs.load_config(_config(tmp_path / 'tiny.py', own), given)
    assert cfg.work_dir == expected


def test_options_change_the_config(tmp_path):
    path = _config(tmp_path / 'a.py', 'a = dict(b=[dict(x=1), dict(x=2)])')
    cfg = runs.load_config(path, cfg_options={'a.b.1.x': 5, 'c': 'd'})
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
            'a = [1]', {'a.7': 1}, '--cfg-options do not fit', id='index'
        ),
        pytest.param(
            'a = [1]', {'a.0': 1}, '--cfg-options do not fit', id='number'
        ),
        pytest.param(
            'a = 1', {'a.b': 1}, '--cfg-options do not fit', id='no dict'
        ),
    ],
)
def test_unusable_config(tmp_path, text, options, message):
    path = _config(tmp_path / 'bad.py', text)
    with pytest.raises(ValueError, match=message) as caught:
        runs.load_config(path, cfg_options=options)
    assert path in str(caught.value)
    assert '\n' not in str(caught.value)


def test_detector_without_mmdet(tmp_path, monkeypatch):
    path = _config(tmp_path / 'det.py', "default_scope = 'mmdet'")
    runs.load_config(path)
    monkeypatch.setitem(sys.modules, 'mmdet', None)
    with pytest.raises(ValueError, match=r'needs the package mmdet'):
        runs.load_config(path)


@pytest.mark.parametrize(
    ('launcher', 'variable', 'program'),
    [
        ('pytorch', 'RANK', 'torchrun'),
        ('slurm', 'SLURM_PROCID', 'srun'),
        ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK', 'mpirun'),
    ],
)
def test_launcher(monkeypatch, launcher, variable, program):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match=f'{variable} .*{program}'):
        runs.check_launcher(launcher)
    monkeypatch.setenv(variable, '0')
    monkeypatch.setattr(runs, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='each process a GPU'):
        runs.check_launcher(launcher)
    monkeypatch.setattr(runs, 'get_device', lambda: 'cuda')
    runs.check_launcher(launcher)


@pytest.mark.parametrize('pair', ['lr', 'a=[1,2'])
def test_malformed_pairs(pair):
    with pytest.raises(ValueError, match='expected KEY=VALUE pairs') as caught:
        runs.parse_pairs(['x=1', pair])
    assert f"got 'x=1 {pair}'" in str(caught.value)


def _training(optim_wrapper):
    return Config(dict(optim_wrapper=optim_wrapper))


def test_amp(monkeypatch):
    cfg = _training(dict(type='OptimWrapper', clip_grad=dict(max_norm=1)))
    monkeypatch.setattr(runs, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='needs a CUDA'):
        runs.turn_on_amp(cfg)
    monkeypatch.setattr(runs, 'get_device', lambda: 'cuda')
    runs.turn_on_amp(cfg)
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper',
        clip_grad=dict(max_norm=1),
        loss_scale='dynamic',
    )
    own = _training(dict(type='AmpOptimWrapper', loss_scale=512.0))
    runs.turn_on_amp(own)
    assert own.optim_wrapper.loss_scale == 512.0
    with pytest.raises(ValueError, match='config has ApexOptimWrapper'):
        runs.turn_on_amp(_training(dict(type='ApexOptimWrapper')))


def test_lr_scaling():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=16, enable=False)))
    runs.turn_on_lr_scaling(cfg)
    assert cfg.auto_scale_lr == dict(base_batch_size=16, enable=True)
    for unfit in ({}, dict(auto_scale_lr=dict(enable=False))):
        with pytest.raises(ValueError, match='--auto-scale-lr needs'):
            runs.turn_on_lr_scaling(Config(unfit))


def test_resume(tmp_path):
    start = dict(work_dir=str(tmp_path), load_from='start.pth')
    cfg = Config(start)
    assert 'starting anew' in runs.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')

    latest = tmp_path / 'iter_2.pth'
    (tmp_path / 'last_checkpoint').write_text(str(latest))
    with pytest.raises(FileNotFoundError, match=r'iter_2\.pth'):
        runs.set_resume(Config(start), 'auto')
    latest.touch()
    for given in ('auto', str(latest)):
        cfg = Config(start)
        assert str(latest) in runs.set_resume(cfg, given)
        assert (cfg.resume, cfg.load_from) == (True, str(latest))


def _drawing(scope, hook):
    return Config(
        dict(
            default_scope=scope,
            default_hooks=dict(visualization=hook),
            visualizer=dict(type='Visualizer'),
        )
    )


def test_show_dir_of_a_detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = _drawing('mmdet', dict(type='DetVisualizationHook', interval=5))
    runs.turn_on_drawing(cfg, False, 'pictures', 2.0)
    assert cfg.default_hooks.visualization == dict(
        type='DetVisualizationHook',
        interval=5,
        draw=True,
        test_out_dir=str(tmp_path / 'pictures'),
    )


def test_show_dir_of_a_segmentor(tmp_path):
    cfg = _drawing('mmseg', dict(type='SegVisualizationHook'))
    runs.turn_on_drawing(cfg, False, str(tmp_path), 2.0)
    assert cfg.default_hooks.visualization == dict(
        type='SegVisualizationHook', draw=True, interval=1
    )
    assert cfg.visualizer.save_dir == str(tmp_path)
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend')]


def test_show(monkeypatch):
    monkeypatch.setattr(runs.sys, 'platform', 'linux')
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    hook = dict(type='SegVisualizationHook')
    with pytest.raises(ValueError, match='--show needs a display'):
        runs.turn_on_drawing(_drawing('mmseg', hook), True, None, 2.0)
    monkeypatch.setenv('DISPLAY', ':0')
    cfg = _drawing('mmseg', hook)
    runs.turn_on_drawing(cfg, True, None, 0.5)
    assert cfg.default_hooks.visualization == dict(
        hook, draw=True, interval=1, show=True, wait_time=0.5
    )
    with pytest.raises(ValueError, match='give one of the two'):
        runs.turn_on_drawing(_drawing('mmseg', hook), True, 'out', 2.0)


@pytest.mark.parametrize(
    'hook',
    [
        pytest.param(None, id='none'),
        pytest.param(dict(type='SegVisHook'), id='one that takes no orders'),
    ],
)
def test_nothing_that_draws(hook):
    with pytest.raises(ValueError, match='need a visualizer and the hook'):
        runs.turn_on_drawing(_drawing('mmseg', hook), False, 'out', 2.0)


def _tta(scope, **more):
    pack = dict(type='PackDetInputs', meta_keys=('img_id', 'flip'))
    data_set = dict(pipeline=[dict(type='LoadImageFromFile'), pack])
    return Config(
        dict(
            default_scope=scope,
            model=dict(type='Model'),
            test_dataloader=dict(
                dataset=dict(type='RepeatDataset', dataset=data_set)
            ),
            **more,
        )
    )


def test_tta_of_the_config():
    pipeline = [dict(type='TestTimeAug')]
    settings = dict(tta_model=dict(type='SegTTAModel'), tta_pipeline=pipeline)
    cfg = _tta('mmseg', **settings)
    assert runs.turn_on_tta(cfg) == []
    assert cfg.model == dict(type='SegTTAModel', module=dict(type='Model'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == pipeline


def test_tta_of_a_detector_by_default():
    cfg = _tta('mmdet')
    notes = runs.turn_on_tta(cfg)
    assert [note.split(', default')[0] for note in notes] == [
        '--tta: the config has no tta_model',
        '--tta: the config has no tta_pipeline',
    ]
    assert cfg.model.type == 'DetTTAModel'
    assert cfg.model.module == dict(type='Model')
    assert cfg.test_dataloader.dataset.dataset.pipeline == [
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug',
            transforms=[
                [
                    dict(type='RandomFlip', prob=1.0),
                    dict(type='RandomFlip', prob=0.0),
                ],
                [
                    dict(
                        type='PackDetInputs',
                        meta_keys=('img_id', 'flip', 'flip_direction'),
                    )
                ],
            ],
        ),
    ]


def test_tta_of_a_segmentor_needs_settings():
    cfg = _tta('mmseg', tta_model=dict(type='SegTTAModel'))
    with pytest.raises(ValueError, match='has no tta_pipeline; see'):
        runs.turn_on_tta(cfg)
