import pytest
from mmengine.config import Config

from mmseg_ext.launch import switches


def _training(optim_wrapper):
    return Config(dict(optim_wrapper=optim_wrapper))


def test_amp(monkeypatch):
    cfg = _training(dict(type='OptimWrapper', clip_grad=dict(max_norm=1)))
    monkeypatch.setattr(switches, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match='needs a CUDA'):
        switches.set_precision(cfg, True)
    monkeypatch.setattr(switches, 'get_device', lambda: 'cuda')
    switches.set_precision(cfg, True)
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper',
        clip_grad=dict(max_norm=1),
        loss_scale='dynamic',
    )
    own = _training(dict(type='AmpOptimWrapper', loss_scale=512.0))
    switches.set_precision(own, True)
    assert own.optim_wrapper.loss_scale == 512.0
    with pytest.raises(ValueError, match='config has ApexOptimWrapper'):
        switches.set_precision(_training(dict(type='ApexOptimWrapper')), True)


def test_amp_of_the_config(monkeypatch):
    monkeypatch.setattr(switches, 'get_device', lambda: 'cpu')
    wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0)
    cfg = _training(wrapper)
    with pytest.raises(
        ValueError, match=r'needs a CUDA.* cfg_options optim_wrapper\.type=Opt'
    ):
        switches.set_precision(cfg, False)
    # Of what the line says to do, all else follows.
    cfg.optim_wrapper.type = 'OptimWrapper'
    switches.set_precision(cfg, False)
    assert cfg.optim_wrapper == dict(type='OptimWrapper')
    monkeypatch.setattr(switches, 'get_device', lambda: 'cuda')
    cfg = _training(wrapper)
    switches.set_precision(cfg, False)
    assert cfg.optim_wrapper == wrapper


def test_lr_scaling():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=16, enable=False)))
    switches.turn_on_lr_scaling(cfg)
    assert cfg.auto_scale_lr == dict(base_batch_size=16, enable=True)
    for unfit in ({}, dict(auto_scale_lr=dict(enable=False))):
        with pytest.raises(ValueError, match='auto_scale_lr=True needs'):
            switches.turn_on_lr_scaling(Config(unfit))


def test_resume(tmp_path):
    start = dict(work_dir=str(tmp_path), load_from='start.pth')
    cfg = Config(start)
    assert 'starting anew' in switches.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')

    latest = tmp_path / 'iter_2.pth'
    (tmp_path / 'last_checkpoint').write_text(str(latest))
    with pytest.raises(FileNotFoundError, match=r'iter_2\.pth'):
        switches.set_resume(Config(start), 'auto')
    latest.touch()
    for given in ('auto', str(latest)):
        cfg = Config(start)
        assert str(latest) in switches.set_resume(cfg, given)
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
    switches.turn_on_drawing(cfg, False, 'pictures', 2.0)
    assert cfg.default_hooks.visualization == dict(
        type='DetVisualizationHook',
        interval=5,
        draw=True,
        test_out_dir=str(tmp_path / 'pictures'),
    )


def test_show_dir_of_a_segmentor(tmp_path):
    cfg = _drawing('mmseg', dict(type='SegVisualizationHook'))
    switches.turn_on_drawing(cfg, False, str(tmp_path), 2.0)
    assert cfg.default_hooks.visualization == dict(
        type='SegVisualizationHook', draw=True, interval=1
    )
    assert cfg.visualizer.save_dir == str(tmp_path)
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend')]


def test_show(monkeypatch):
    monkeypatch.setattr(switches.sys, 'platform', 'linux')
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    hook = dict(type='SegVisualizationHook')
    with pytest.raises(ValueError, match='show=True needs a display'):
        switches.turn_on_drawing(_drawing('mmseg', hook), True, None, 2.0)
    monkeypatch.setenv('DISPLAY', ':0')
    cfg = _drawing('mmseg', hook)
    switches.turn_on_drawing(cfg, True, None, 0.5)
    assert cfg.default_hooks.visualization == dict(
        hook, draw=True, interval=1, show=True, wait_time=0.5
    )
    with pytest.raises(ValueError, match='give one of the two'):
        switches.turn_on_drawing(_drawing('mmseg', hook), True, 'out', 2.0)


@pytest.mark.parametrize(
    'hook',
    [
        pytest.param(None, id='none'),
        pytest.param(dict(type='SegVisHook'), id='one that takes no orders'),
    ],
)
def test_nothing_that_draws(hook):
    with pytest.raises(ValueError, match='need a visualizer and the hook'):
        switches.turn_on_drawing(_drawing('mmseg', hook), False, 'out', 2.0)


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
    assert switches.turn_on_tta(cfg) == []
    assert cfg.model == dict(type='SegTTAModel', module=dict(type='Model'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == pipeline


def test_tta_of_a_detector_by_default():
    cfg = _tta('mmdet')
    notes = switches.turn_on_tta(cfg)
    assert notes == [
        'test-time augmentation: the config has no tta_model, default: NMS at '
        'IoU 0.5 over all views',
        'test-time augmentation: the config has no tta_pipeline, default: '
        'horizontal flips',
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
        switches.turn_on_tta(cfg)


def test_tensorboard(monkeypatch):
    local, board = (
        dict(type=f'{n}VisBackend') for n in ('Local', 'Tensorboard')
    )
    for given in (None, dict(type='V'), dict(type='V', vis_backends=[local])):
        cfg = Config(dict(visualizer=given))
        switches.turn_on_tensorboard(cfg)
        assert cfg.visualizer.vis_backends == [local, board]
        # Once is enough.
        switches.turn_on_tensorboard(cfg)
        assert len(cfg.visualizer.vis_backends) == 2
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ValueError, match='try: pip install tensorboard'):
        switches.turn_on_tensorboard(Config(dict(visualizer=None)))
