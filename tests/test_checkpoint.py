import os
import pickle
import socket
import subprocess
import sys
import zipfile
from contextlib import suppress
from functools import partial
from http.client import IncompleteRead
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import URLError

import mmdet.apis
import mmengine.runner.checkpoint
import mmseg.apis
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModule, BaseTTAModel, initialize
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from torch import nn

import mmseg_ext  # noqa: F401  (allows mmengine's classes)
from mmseg_ext.checkpoint import (
    CheckpointError,
    check_checkpoint,
    check_start,
    find_checkpoint,
    guard_checkpoint_loaders,
    read_checkpoint,
    weights_only,
)

CONFIGS = Path(__file__).parents[1] / 'configs'
SEGMENTOR = CONFIGS / 'demo/bisenetv1_r18-d32_1xb4-250_sample-192x256.py'
DETECTOR = CONFIGS / 'mask_rcnn/mask-rcnn_r18_fpn_1xb2-2k_nail-320.py'


class Exploit:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def make_checkpoint():
    hub = MessageHub('test_checkpoint')
    hub.update_scalar('train/loss', 0.5, 2)
    hub.update_scalar('train/lr', np.float32(0.25))
    hub.update_scalar('train/tensor', torch.tensor(3.0))
    hub.update_info('best', np.float64(71.5))
    return {
        'state_dict': {'weight': torch.arange(3.0)},
        'message_hub': hub.state_dict(),
        'meta': {'iter': 7, 'scores': np.array([1, 2])},
    }


def load(path):
    return CheckpointLoader.load_checkpoint(str(path), 'cpu')


def test_checkpoint_of_mmengine_loads(tmp_path):
    torch.save(make_checkpoint(), tmp_path / 'a.pth')
    loaded = load(tmp_path / 'a.pth')
    losses, counts = loaded['message_hub']['log_scalars']['train/loss'].data
    assert (losses.tolist(), counts.tolist()) == ([0.5], [2])
    assert loaded['message_hub']['runtime_info']['best'] == 71.5
    assert loaded['meta']['scores'].tolist() == [1, 2]


def test_it_loads_in_a_new_process(tmp_path):
    """No history buffer was made there that would have set things up."""
    torch.save(make_checkpoint(), tmp_path / 'a.pth')
    code = (
        'import sys, torch, mmseg_ext; '
        "print(torch.load(sys.argv[1])['meta']['iter'])"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, tmp_path / 'a.pth'],
        capture_output=True,
        text=True,
        check=True,
    )
    # Upstream's packages may have something to say first.
    assert done.stdout.split()[-1] == '7'


def test_checkpoint_of_numpy_1_loads(tmp_path):
    """Files of 2023 name NumPy's functions by the module of that time."""
    torch.save(make_checkpoint(), tmp_path / 'new.pth')
    with (
        zipfile.ZipFile(tmp_path / 'new.pth') as new,
        zipfile.ZipFile(tmp_path / 'old.pth', 'w') as old,
    ):
        for info in new.infolist():
            data = new.read(info)
            if info.filename.endswith('data.pkl'):
                assert b'numpy._core.multiarray' in data
                data = data.replace(
                    b'cnumpy._core.multiarray', b'cnumpy.core.multiarray'
                )
            old.writestr(info, data)
    loaded = load(tmp_path / 'old.pth')
    assert loaded['message_hub']['runtime_info']['best'] == 71.5


def test_checkpoint_that_runs_code_is_refused(tmp_path):
    ran = tmp_path / 'ran'
    torch.save(
        {**make_checkpoint(), 'extra': Exploit(ran)}, tmp_path / 'a.pth'
    )
    with pytest.raises(pickle.UnpicklingError, match=r'posix\.system'):
        load(tmp_path / 'a.pth')
    assert not ran.exists()
    # It would have run: the test does not pass for want of a working trap.
    torch.load(tmp_path / 'a.pth', weights_only=False)
    assert ran.exists()


@pytest.fixture
def address_of(tmp_path, monkeypatch):
    """Serve tmp_path/web on this machine; give the address of a file."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    (tmp_path / 'web').mkdir()
    server = ThreadingHTTPServer(
        ('127.0.0.1', 0),
        partial(QuietHandler, directory=str(tmp_path / 'web')),
    )
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield lambda name: f'http://127.0.0.1:{server.server_port}/{name}'
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_checkpoint_of_the_web_loads(tmp_path, address_of):
    torch.save(make_checkpoint(), tmp_path / 'web' / 'a.pth')
    loaded = load(address_of('a.pth'))
    assert loaded['message_hub']['runtime_info']['best'] == 71.5


def test_checkpoint_of_the_web_that_runs_code_is_refused(
    tmp_path, address_of, monkeypatch
):
    ran = tmp_path / 'ran'
    torch.save({'extra': Exploit(ran)}, tmp_path / 'web' / 'a.pth')
    # Also where the user turned the check off for other programs.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(ValueError, match=r'refused: it holds posix\.system'):
        load(address_of('a.pth'))
    assert os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '1'
    assert not ran.exists()
    # torch.hub itself would have run it.
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    torch.hub.load_state_dict_from_url(
        address_of('a.pth'), model_dir=tmp_path / 'hub', progress=False
    )
    assert ran.exists()


def test_what_is_allowed_stays_so_after_a_load(tmp_path):
    """The forks of MMEngine take their own list back after each load."""
    allowed = make_checkpoint()
    torch.save(allowed, tmp_path / 'a.pth')
    for loader in set(CheckpointLoader._schemes.values()):
        # Most are for addresses of services that are not there.
        with suppress(Exception):
            loader(str(tmp_path / 'a.pth'), 'cpu')
        assert torch.load(tmp_path / 'a.pth').keys() == allowed.keys()


def test_the_list_of_the_forks_is_not_used(monkeypatch):
    """It has ``getattr``, by which a file reaches all there is."""
    schemes = CheckpointLoader._schemes
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(schemes))
    upstream = mmengine.runner.checkpoint
    monkeypatch.setattr(
        upstream, 'get_torch_safe_globals', lambda: [getattr], raising=False
    )
    guard_checkpoint_loaders()
    assert upstream.get_torch_safe_globals() == []


@pytest.fixture
def _scopes_restored(monkeypatch):
    """Forget which scopes the loaded models brought up."""
    scopes = DefaultScope._instance_dict
    monkeypatch.setattr(DefaultScope, '_instance_dict', scopes.copy())


@pytest.mark.usefixtures('_scopes_restored')
@pytest.mark.parametrize('kind', ['segmentor', 'inferencer', 'detector'])
def test_no_way_in_runs_code(tmp_path, kind):
    ran = tmp_path / 'ran'
    torch.save({'state_dict': {}, 'meta': Exploit(ran)}, tmp_path / 'a.pth')
    ways = {
        'segmentor': (mmseg.apis.init_model, SEGMENTOR, {'device': 'cpu'}),
        'inferencer': (
            mmseg.apis.MMSegInferencer,
            SEGMENTOR,
            {'device': 'cpu', 'weights': str(tmp_path / 'a.pth')},
        ),
        'detector': (mmdet.apis.init_detector, DETECTOR, {'device': 'cpu'}),
    }
    load, config, options = ways[kind]
    if 'weights' not in options:
        options['checkpoint'] = str(tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'refused: it holds posix\.system'):
        load(str(config), **options)
    assert not ran.exists()


def test_weights_only_holds_whoever_loads(tmp_path):
    torch.save({'extra': Exploit(tmp_path / 'ran')}, tmp_path / 'a.pth')
    address = (tmp_path / 'a.pth').as_uri()
    with weights_only(), pytest.raises(pickle.UnpicklingError):
        torch.hub.load_state_dict_from_url(address, model_dir=tmp_path / 'hub')
    assert not (tmp_path / 'ran').exists()
    torch.load(tmp_path / 'a.pth', weights_only=False)
    assert (tmp_path / 'ran').exists()


class Attribute:
    """Unpickled by ``getattr``, the first step of many an attack."""

    def __init__(self, owner, name):
        self.of = owner, name

    def __reduce__(self):
        return getattr, self.of


@pytest.mark.parametrize(
    'value',
    [
        pytest.param(np.array([{}], object), id='array of objects'),
        pytest.param(np.random.default_rng(0), id='another NumPy class'),
        pytest.param(Attribute(HistoryBuffer, '__init__'), id='attribute'),
        pytest.param(Attribute(np.ndarray, 'tofile'), id='method of NumPy'),
    ],
)
def test_only_what_is_needed_is_allowed(tmp_path, value):
    torch.save({'x': value}, tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError):
        load(tmp_path / 'a.pth')


class _Model(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, num_classes, 1)
        self.auxiliary_head = nn.ModuleList([nn.Conv2d(4, num_classes, 1)])
        self.register_buffer('grid', torch.arange(3))

    def test_step(self, data):
        raise NotImplementedError


class _TTA(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        raise NotImplementedError


class _Payload:
    """Makes a file when it is unpickled without care."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'last.pth'


def _state(num_classes, prefix=''):
    state = _Model(num_classes).state_dict()
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    'content',
    [
        pytest.param({'state_dict': _state(3)}, id='of mmengine'),
        pytest.param(_state(3), id='bare state dict'),
        pytest.param({'state_dict': _state(3, 'module.')}, id='of a wrapper'),
        pytest.param(
            {
                'state_dict': {
                    key: value
                    for key, value in _state(3).items()
                    if not key.startswith('auxiliary_head')
                }
            },
            id='without what is used in training alone',
        ),
    ],
)
@pytest.mark.parametrize('wrap', [nn.Module, _TTA], ids=['plain', 'TTA'])
def test_accepts(path, content, wrap):
    torch.save(content, path)
    model = _Model(3)
    check_checkpoint(_TTA(model) if wrap is _TTA else model, path)


def test_history_of_mmengine_is_read(path):
    buffer = HistoryBuffer([0.5, 0.25], [1, 1])
    torch.save({'message_hub': {'loss': buffer}}, path)
    assert read_checkpoint(path)['message_hub']['loss'].mean() == 0.375


def test_other_class_count(path):
    torch.save({'state_dict': _state(19)}, path)
    with pytest.raises(ValueError, match='does not fit') as caught:
        check_checkpoint(_Model(3), path)
    text = str(caught.value)
    assert str(path) in text
    assert 'head.weight (19, 4, 1, 1) and (3, 4, 1, 1)' in text
    assert 'head.bias (19,) and (3,)' in text
    assert 'backbone' not in text
    assert '\n' not in text


def _without(*absent):
    """Return the weights of a model without those of some names."""
    return {
        key: value
        for key, value in _state(3).items()
        if not key.startswith(absent)
    }


def test_missing_weights_are_named(path):
    torch.save({'state_dict': _without('head', 'norm.running')}, path)
    with pytest.raises(ValueError, match='lacks') as caught:
        check_checkpoint(_Model(3), path)
    # backbone, norm and head have two parameters each, norm two statistics.
    assert (
        f'{path} lacks 4 of the 8 parameters of the model, which would be '
        'random: norm.running_mean, norm.running_var, head.weight, head.bias;'
    ) in str(caught.value)


def test_what_the_constructor_computes_may_be_missing(path):
    torch.save({'state_dict': _without('grid', 'norm.num')}, path)
    check_checkpoint(_Model(3), path)


def test_modules_translate_earlier_names(path):
    """As MMDet's do: a name that is not there need not be missing."""

    class Renamed(_Model):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            state_dict['head.weight'] = state_dict.pop('fcos_cls.weight')
            super()._load_from_state_dict(state_dict, prefix, *args)

    weights = _state(3)
    weights['fcos_cls.weight'] = weights.pop('head.weight')
    torch.save({'state_dict': weights}, path)
    check_checkpoint(Renamed(3), path)
    with pytest.raises(
        ValueError, match=r'lacks 1 of the 8 .*: head\.weight;'
    ):
        check_checkpoint(_Model(3), path)


def test_a_training_may_start_from_a_part(path):
    weights = {**_without('head', 'norm'), 'head.bias': torch.zeros(19)}
    torch.save({'state_dict': weights}, path)
    model = _Model(3)
    before = model.head.bias.clone()
    assert check_start(model, str(path)) == (
        f'starting from {path}: 6 of 10 parameters are not there, or have '
        'another shape, and stay as initialized: norm.weight, norm.bias, '
        'norm.running_mean, norm.running_var, head.weight and 1 more'
    )
    assert torch.equal(model.backbone.weight, weights['backbone.weight'])
    assert torch.equal(model.head.bias, before)
    torch.save({'state_dict': _state(3)}, path)
    assert 'has all parameters' in check_start(_Model(3), str(path))


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('gone.pth', 'no checkpoint file gone.pth'),
        ('open-mmlab://gone', 'open-mmlab://gone cannot be loaded'),
        ('http://127.0.0.1:9/gone.pth', '127.0.0.1:9/gone.pth cannot be lo'),
    ],
)
def test_a_start_that_is_not_there(source, message, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e:
        check_start(_Model(3), source)
    assert '\n' not in str(e.value)


RESNET = (
    'https://download.openmmlab.com/pretrain/third_party/'
    'resnet18_v1c-b5776b93.pth'
)


@pytest.mark.parametrize(
    ('source', 'origin'),
    [
        pytest.param(f'{RESNET}?x=1', '', id='address'),
        pytest.param(
            'open-mmlab://resnet18_v1c', f' from {RESNET}', id='name'
        ),
    ],
)
@pytest.mark.parametrize('error', [URLError, TimeoutError, IncompleteRead])
def test_address_that_cannot_be_reached(
    source, origin, error, monkeypatch, tmp_path
):
    """The line says where the file may lie, and there it is found."""
    waits = []

    def download(address, *args, **kwargs):
        waits.append(socket.getdefaulttimeout())
        raise error('no route')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    init_cfg = dict(type='Pretrained', checkpoint=source)
    model = BaseModule(init_cfg)
    model.weight = nn.Parameter(torch.zeros(2))
    # As with upstream alone, and as all that is not loaded here.
    with pytest.raises(URLError) as caught:
        model.init_weights()
    assert isinstance(caught.value, CheckpointError)
    folder, name = tmp_path / 'hub/checkpoints', 'resnet18_v1c-b5776b93.pth'
    line = str(caught.value)
    assert line.startswith(
        f'{source} cannot be loaded{origin} ({error.__name__}: '
    )
    assert line.endswith(
        f'); put the file into {folder} as {name}; a training goes without it '
        'by cfg_options runner_type=OfflineRunner'
    )
    (wait,) = waits
    assert 0 < wait <= 60  # in seconds: not the system's minutes
    assert socket.getdefaulttimeout() is None
    torch.save({'weight': torch.ones(2)}, folder / name)
    initialize(model, init_cfg)
    assert model.weight.tolist() == [1, 1]


def test_a_start_of_another_model(path):
    torch.save({'conv1.weight': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match='none of the parameters of _Model'):
        check_start(_Model(3), str(path))


def test_another_model(path):
    torch.save({'state_dict': {'conv1.weight': torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match='none of the parameters of _Model'):
        check_checkpoint(_Model(3), path)


def test_foreign_objects_are_refused_and_not_run(path, tmp_path):
    trace = tmp_path / 'trace'
    torch.save({'state_dict': _state(3), 'meta': _Payload(trace)}, path)
    with pytest.raises(ValueError, match=r'refused: it holds \w+\.mkdir') as e:
        check_checkpoint(_Model(3), path)
    assert str(path) in str(e.value)
    assert not trace.exists()
    # The trap works: a loader that trusts the file steps into it.
    torch.load(path, weights_only=False)
    assert trace.is_dir()


def _truncated(path):
    torch.save(_state(3), path)
    path.write_bytes(path.read_bytes()[:-400])


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        pytest.param(_truncated, 'cannot be loaded', id='truncated'),
        pytest.param(Path.touch, 'cannot be loaded', id='empty'),
        pytest.param(
            lambda path: path.write_text('<html>404</html>'),
            'cannot be loaded',
            id='a web page',
        ),
        pytest.param(
            lambda path: torch.save(torch.zeros(2), path),
            'expected a dict of weights, found Tensor',
            id='a tensor',
        ),
        pytest.param(lambda path: None, 'no checkpoint file', id='absent'),
        *(
            pytest.param(
                lambda path, content=content: torch.save(content, path),
                f'is no checkpoint: expected {message}',
                id=message,
            )
            for content, message in (
                ({'state_dict': []}, 'a dict of weights, found list'),
                ({'state_dict': None}, 'a dict of weights, found NoneType'),
                (
                    {'state_dict': {3: torch.zeros(1)}},
                    'the names of weights, found 3',
                ),
                ({3: torch.zeros(1)}, 'the names of weights, found 3'),
                ({'state_dict': {'a': 'b'}}, 'a tensor as a, found str'),
                ({'state_dict': {}, 'meta': []}, 'a dict as meta, found list'),
                (
                    {'state_dict': {}, 'meta': {'dataset_meta': [1]}},
                    'a dict as dataset_meta, found list',
                ),
                (
                    {
                        'state_dict': {},
                        'meta': {'dataset_meta': {'classes': 'nail'}},
                    },
                    "names as dataset_meta.classes, found 'nail'",
                ),
            )
        ),
    ],
)
def test_no_checkpoint(path, write, message):
    write(path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as e:
        read_checkpoint(path)
    assert str(path) in str(e.value)
    assert '\n' not in str(e.value)


def _resumable(**changes):
    hub = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
    whole = {
        'state_dict': _state(3),
        'meta': {'epoch': 0, 'iter': 1},
        'message_hub': hub,
        'optimizer': {},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def test_a_whole_checkpoint_can_be_resumed_from(path):
    torch.save(_resumable(param_schedulers=[]), path)
    check_checkpoint(_Model(3), path, resume=True, parts=['param_schedulers'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'message_hub': None}, 'has no message_hub, so .*load_from='),
        (
            {'optimizer': None},
            'has no optimizer and no param_sch.*, so .*load_from=',
        ),
        ({}, 'has no param_schedulers, so .*load_from='),
        (
            {'param_schedulers': [], 'message_hub': {}},
            'as message_hub.log_scalars, message_hub.runtime_info, mes',
        ),
        ({'param_schedulers': [], 'optimizer': []}, 'saves as optimizer;'),
        (
            {'param_schedulers': [], 'meta': {'epoch': 'x'}},
            'saves as meta.epoch, meta.iter;',
        ),
        *(
            (
                {'param_schedulers': [], 'state_dict': _without(name)},
                f'lacks 1 of the {len(_state(3))} parameters .*: {name}',
            )
            for name in ('auxiliary_head.0.bias', 'grid', 'norm.running_var')
        ),
    ],
)
def test_resuming_needs_more_than_weights(path, changes, message):
    torch.save(_resumable(**changes), path)
    with pytest.raises(ValueError, match=message) as caught:
        check_checkpoint(_Model(3), path, True, ['param_schedulers'])
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_no_config_comes_from_a_checkpoint(path, tmp_path):
    """Runner.resume would run it."""
    ran = tmp_path / 'ran'
    meta = {'config': f'open({str(ran)!r}, "w")', 'cfg': 'a = 1', 'iter': 7}
    torch.save(_resumable(meta=meta), path)
    assert load(path)['meta'] == {'cfg': 'a = 1', 'iter': 7}


def _numbered(folder, *names):
    for name in names:
        torch.save(_resumable(), folder / name)


def test_the_last_checkpoint_is_the_one_that_is_named(tmp_path):
    _numbered(tmp_path, 'iter_9.pth', 'iter_10.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_9.pth\n'))
    path = tmp_path / 'iter_9.pth'
    assert find_checkpoint(tmp_path) == (str(path), f'resuming from {path}')


@pytest.mark.parametrize('named', ['old/place/iter_9.pth', '/gone/iter_9.pth'])
def test_a_work_dir_may_have_been_moved(tmp_path, monkeypatch, named):
    _numbered(tmp_path, 'iter_9.pth', 'iter_10.pth')
    (tmp_path / 'last_checkpoint').write_text(named)
    assert find_checkpoint(tmp_path)[0] == str(tmp_path / 'iter_9.pth')
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint('.')[0] == 'iter_9.pth'


def test_checkpoints_may_lie_elsewhere(tmp_path):
    work, other = tmp_path / 'work', tmp_path / 'other'
    work.mkdir()
    other.mkdir()
    _numbered(work, 'iter_9.pth')
    _numbered(other, 'iter_10.pth')
    (work / 'last_checkpoint').write_text(str(other / 'iter_10.pth'))
    assert find_checkpoint(work)[0] == str(other / 'iter_10.pth')


@pytest.mark.parametrize(
    ('record', 'reason'),
    [
        (None, 'there is no last_checkpoint'),
        (b'', 'last_checkpoint names none'),
        (b'/gone/iter_12.pth', 'last_checkpoint names /gone/iter_12.pth'),
        (b'\0\xff' * 3000, 'last_checkpoint names '),
    ],
)
def test_else_it_is_the_newest_whole_one(tmp_path, record, reason):
    """The newest by number and not by name, and the newest that loads."""
    _numbered(tmp_path, 'iter_9.pth', 'iter_10.pth', 'best_mIoU_iter_90.pth')
    (tmp_path / 'iter_11.pth').write_bytes(b'half')
    (tmp_path / 'iter_99.pth').mkdir()
    if record is not None:
        (tmp_path / 'last_checkpoint').write_bytes(record)
    path, line = find_checkpoint(tmp_path)
    assert path == str(tmp_path / 'iter_10.pth')
    assert line.startswith(
        f'resuming from {path}, the newest whole one, since {reason}'
    )
    assert line.endswith('; not whole: iter_11.pth')


def test_what_holds_weights_alone_is_passed_over(tmp_path):
    _numbered(tmp_path, 'iter_1.pth', 'iter_2.pth')
    torch.save(_resumable(optimizer=None), tmp_path / 'iter_3.pth')
    path, line = find_checkpoint(tmp_path)
    assert path == str(tmp_path / 'iter_2.pth')
    assert line.endswith('; not whole: iter_3.pth')
    (tmp_path / 'iter_1.pth').unlink()
    (tmp_path / 'iter_2.pth').unlink()
    with pytest.raises(ValueError, match='state of the optimizer') as caught:
        find_checkpoint(tmp_path)
    assert str(caught.value).endswith(
        'of iter_3.pth; start from the weights of the newest with cfg_options '
        f'load_from={tmp_path / "iter_3.pth"} and without resume, or anew: '
        'move them away or take another work_dir'
    )


@pytest.mark.parametrize('name', ['iter_3.pth', 'best_mIoU_iter_3.pth'])
def test_weights_alone_name_what_can_be_resumed_from(tmp_path, name):
    """It may be a newer one: the newest is whole."""
    _numbered(tmp_path, 'iter_2.pth', 'iter_4.pth')
    lean = _resumable(optimizer=None)
    torch.save(lean, tmp_path / name)
    torch.save(lean, tmp_path / 'iter_5.pth')
    with pytest.raises(
        ValueError, match=f'{name} has no optimizer, so no'
    ) as e:
        check_checkpoint(_Model(3), tmp_path / name, resume=True)
    whole = tmp_path / 'iter_4.pth'
    assert f'; to go on give resume={whole}, to start' in str(e.value)
    assert '\n' not in str(e.value)
    (tmp_path / 'iter_2.pth').unlink()
    whole.unlink()
    with pytest.raises(ValueError, match='has no optimizer, so no') as e:
        check_checkpoint(_Model(3), tmp_path / name, resume=True)
    assert 'resume=' not in str(e.value)


def test_epochs_count_as_iterations_do(tmp_path):
    _numbered(tmp_path, 'epoch_2.pth', 'epoch_11.pth')
    assert find_checkpoint(tmp_path)[0] == str(tmp_path / 'epoch_11.pth')


def test_a_work_dir_without_checkpoints(tmp_path):
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / 'gone') is None
    (tmp_path / 'last_checkpoint').touch()
    assert find_checkpoint(tmp_path) is None
    (tmp_path / 'last_checkpoint').write_text('/gone/iter_12.pth')
    with pytest.raises(FileNotFoundError, match=r'/gone/iter_12\.pth'):
        find_checkpoint(tmp_path)


def test_a_work_dir_without_a_whole_checkpoint(tmp_path):
    """It is not started anew: that would write over them."""
    (tmp_path / 'iter_1.pth').touch()
    with pytest.raises(ValueError, match=r'of iter_1\.pth; start anew: '):
        find_checkpoint(tmp_path)


def test_damage_in_the_middle_is_seen(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'a': torch.ones(5000)}}, path)
    assert torch.equal(
        read_checkpoint(path)['state_dict']['a'], torch.ones(5000)
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'the sum of a/data/0 is wrong'):
        read_checkpoint(path)


def test_a_damaged_checkpoint_names_the_newest_earlier_one(tmp_path):
    _numbered(tmp_path, 'iter_8.pth', 'iter_9.pth', 'iter_12.pth')
    for name in ('iter_10.pth', 'iter_11.pth', 'iter_7.pth'):
        (tmp_path / name).write_bytes(b'half')
    earlier = tmp_path / 'iter_9.pth'
    with pytest.raises(ValueError, match='cannot be loaded') as caught:
        check_checkpoint(_Model(3), tmp_path / 'iter_11.pth', resume=True)
    assert str(caught.value).endswith(
        f'; the newest earlier one that can be loaded is {earlier}, to go on '
        f'from there give resume={earlier}'
    )
    with pytest.raises(ValueError, match='cannot be loaded') as caught:
        check_checkpoint(_Model(3), tmp_path / 'iter_7.pth', resume=True)
    assert 'resume' not in str(caught.value)
    # As LeanCheckpointHook leaves them.
    lean = tmp_path / 'iter_6.pth'
    torch.save(_resumable(optimizer=None), lean)
    with pytest.raises(ValueError, match='cannot be loaded') as caught:
        check_checkpoint(_Model(3), tmp_path / 'iter_7.pth', resume=True)
    assert str(caught.value).endswith(
        '; no earlier one has the state of the optimizer; to start from the '
        f'weights of the newest use cfg_options load_from={lean}'
    )
