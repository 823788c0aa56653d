import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

import mmseg_ext_cli
from mmseg_ext.launch import distributed
from mmseg_ext.launch.distributed import (
    LAUNCHERS,
    DistributedOnCPU,
    SameBuffersHook,
    join_processes,
    set_launcher,
)


@pytest.fixture
def environment(monkeypatch):
    """An environment without launchers, to be changed at will."""
    kept = {'PATH': os.environ['PATH']}
    monkeypatch.setattr(os, 'environ', kept)
    return kept


@pytest.fixture(params=['cpu', 'cuda'])
def device(request, monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: request.param)
    return request.param


def started_by(launcher, rank=1):
    """Return what a launcher sets for one of three processes."""
    names = LAUNCHERS[launcher]
    values = {names.rank: rank, names.world_size: 3, names.local_rank: 0}
    return {name: str(value) for name, value in values.items()}


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_environment(environment, device, launcher):
    """PyTorch's names for what each launcher says, with and without GPU."""
    environment.update(started_by(launcher), MASTER_ADDR='host')
    set_launcher(Config(), launcher)
    assert environment['RANK'] == '1'
    assert environment['WORLD_SIZE'] == '3'
    assert environment['LOCAL_RANK'] == '0'
    assert environment['MASTER_ADDR'] == 'host'
    assert environment['MASTER_PORT'] == '29500'


@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_not_started_by_the_launcher(environment, launcher):
    given = started_by(launcher)
    program = LAUNCHERS[launcher].program
    for name in given:
        environment.update(given)
        del environment[name]
        with pytest.raises(ValueError, match=f'{name} is not .*{program}'):
            set_launcher(Config(), launcher)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'port': 'abc'}, "MASTER_PORT='abc', .*expected a number from 1"),
        ({'port': 99999999}, "MASTER_PORT='99999999'"),
        ({'timeout': 'abc'}, "timeout='abc': expected seconds"),
        ({'timeout': -1}, 'timeout=-1: expected seconds'),
    ],
)
def test_settings_of_communication(environment, settings, message):
    environment.update(started_by('slurm'), MASTER_ADDR='host')
    cfg = Config({'env_cfg': {'dist_cfg': settings}})
    with pytest.raises(ValueError, match=message):
        set_launcher(cfg, 'slurm')


def test_unknown_launcher():
    with pytest.raises(ValueError, match="'ray': expected 'none' or one of "):
        set_launcher(Config(), 'ray')


def test_where_processes_of_mpi_meet(environment):
    environment.update(started_by('mpi'))
    with pytest.raises(ValueError, match=r'MASTER_ADDR .*127\.0\.0\.1'):
        set_launcher(Config(), 'mpi')


@pytest.mark.parametrize(
    ('script', 'host'),
    [
        pytest.param('echo node3; echo node7', 'node3', id='list'),
        pytest.param('echo wrong >&2; exit 1', None, id='error'),
        pytest.param(None, None, id='no scontrol'),
    ],
)
def test_where_processes_of_slurm_meet(environment, tmp_path, script, host):
    environment.update(started_by('slurm'), SLURM_NODELIST='node[3,7]')
    environment['PATH'] = str(tmp_path)
    if script:
        scontrol = tmp_path / 'scontrol'
        scontrol.write_text(
            f'#!/bin/sh\n[ "$3" = "node[3,7]" ] || exit 1\n{script}\n'
        )
        scontrol.chmod(0o755)
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(port=4321))))
    if host:
        set_launcher(cfg, 'slurm')
        assert environment['MASTER_ADDR'] == host
        assert environment['MASTER_PORT'] == '4321'
        return
    with pytest.raises(ValueError, match=r"'node\[3,7\]' gives no host; set"):
        set_launcher(cfg, 'slurm')


def test_devices_that_cannot_train_together(environment, monkeypatch):
    environment.update(started_by('pytorch'), MASTER_ADDR='host')
    monkeypatch.setattr(distributed, 'get_device', lambda: 'mps')
    with pytest.raises(ValueError, match="use launcher='none'"):
        set_launcher(Config(), 'pytorch')


def launched(environment, cfg):
    """Let a launcher change a config and return its wrapper."""
    environment.update(started_by('pytorch'), MASTER_ADDR='host')
    set_launcher(cfg, 'pytorch')
    return cfg.get('model_wrapper_cfg')


@pytest.mark.parametrize('unused', [False, True])
def test_wrapper(environment, device, unused):
    """As mmengine's own, but for the device; on GPUs it is mmengine's own."""
    cfg = Config(dict(find_unused_parameters=unused))
    wrapper = launched(environment, cfg)
    if device == 'cuda':
        assert wrapper is None
        return
    kind = MODEL_WRAPPERS.get(wrapper.pop('type'))
    assert kind is DistributedOnCPU
    assert wrapper == dict(
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=unused,
    )


class OtherWrapper(nn.Module):
    """A wrapper that knows no device_ids."""


@pytest.mark.parametrize(
    ('kind', 'expected', 'ids'),
    [
        pytest.param(None, DistributedOnCPU, True, id='none'),
        pytest.param(
            'MMDistributedDataParallel', DistributedOnCPU, True, id='the same'
        ),
        pytest.param(
            'MMSeparateDistributedDataParallel', None, True, id='separate'
        ),
        pytest.param(f'{__name__}.OtherWrapper', None, False, id='other'),
    ],
)
def test_own_wrapper(environment, monkeypatch, kind, expected, ids):
    """What the config says stays."""
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    monkeypatch.setitem(
        MODEL_WRAPPERS.module_dict, f'{__name__}.OtherWrapper', OtherWrapper
    )
    own = dict(static_graph=True, **(dict(type=kind) if kind else {}))
    wrapper = launched(environment, Config(dict(model_wrapper_cfg=own)))
    assert wrapper['static_graph'] is True
    assert ('device_ids' in wrapper) == ids
    if expected:
        assert MODEL_WRAPPERS.get(wrapper['type']) is expected
    else:
        assert wrapper['type'] == kind


@pytest.mark.parametrize('kind', ['Wrapping', 'no_package.Wrapping'])
def test_unknown_wrapper(environment, monkeypatch, kind):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    cfg = Config(dict(model_wrapper_cfg=dict(type=kind)))
    with pytest.raises(ValueError, match=f'there is no wrapper {kind}'):
        launched(environment, cfg)


@pytest.mark.parametrize(
    ('device', 'launcher'), [('cuda', 'pytorch'), ('cpu', 'none')]
)
def test_mmengine_joins_by_itself(monkeypatch, device, launcher):
    monkeypatch.setattr(distributed, 'get_device', lambda: device)
    join_processes(Config(dict(launcher=launcher)))
    assert not torch.distributed.is_initialized()


@pytest.fixture
def group(environment, monkeypatch, tmp_path):
    """A group of one process, joined as the tools do."""
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    found = {}
    original = torch.distributed.init_process_group

    def init(backend, timeout):
        found.update(backend=backend, timeout=timeout)
        store = f'file://{tmp_path}/store'
        original(backend, store, timeout, rank=0, world_size=1)

    monkeypatch.setattr(torch.distributed, 'init_process_group', init)
    dist_cfg = dict(backend='nccl', timeout=90)
    join_processes(
        Config(dict(launcher='pytorch', env_cfg=dict(dist_cfg=dist_cfg)))
    )
    yield found
    torch.distributed.destroy_process_group()


def test_joined_without_gpu(group):
    assert group['backend'] == torch.distributed.get_backend() == 'gloo'
    assert group['timeout'].total_seconds() == 90


def test_synchronized_batch_normalization(group, mmlog):
    """It has no implementation for CPUs; the same weights are kept."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 1), nn.SyncBatchNorm(4), nn.SyncBatchNorm(4)]
    plain = nn.Sequential(layers[0], nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    model = nn.Sequential(*layers)
    nn.init.normal_(layers[1].weight)
    plain.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match='only work with GPU'):
        MMDistributedDataParallel(model)

    wrapped = DistributedOnCPU(model, device_ids=None)

    images = torch.rand(2, 3, 5, 7)
    for each in (wrapped, plain):
        each(images).square().sum().backward()
    assert 'each process normalizes its own part' in mmlog.text
    for (name, ours), theirs in zip(
        wrapped.module.named_parameters(), plain.parameters(), strict=True
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_buffers_of_the_first_process(monkeypatch):
    sent = []
    monkeypatch.setattr(distributed, 'broadcast', sent.append)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    SameBuffersHook().before_val_epoch(SimpleNamespace(model=model))
    assert [id(buffer) for buffer in sent] == [
        id(buffer) for buffer in model.buffers()
    ]


@pytest.mark.parametrize(
    ('argv', 'rank', 'waits'),
    [
        (['--launcher', 'slurm'], {'SLURM_PROCID': '1'}, True),
        (['--launcher=mpi'], {'OMPI_COMM_WORLD_RANK': '3'}, True),
        (['--launcher', 'pytorch'], {'RANK': '0'}, False),
        (['--launcher', 'pytorch'], {}, False),
        # One of several processes that know nothing of one another.
        ([], {'RANK': '1'}, False),
    ],
)
def test_the_first_process_tells_errors(
    environment, monkeypatch, capsys, argv, rank, waits
):
    """Others wait, to be ended; what none has told before they tell."""
    environment.update(rank)
    monkeypatch.setattr('sys.argv', ['train.py', *argv])
    waited = []
    monkeypatch.setattr(mmseg_ext_cli.time, 'sleep', waited.append)
    parser = mmseg_ext_cli.make_launch_parser('Train.', '')
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(argv)
    assert caught.value.code == 2
    assert len(waited) == waits
    usage, _, error = capsys.readouterr().err.partition('error: ')
    assert usage.startswith('usage: ')
    assert error == 'the following arguments are required: config\n'
    with pytest.raises(SystemExit):
        parser.parse_args(['--help'])
    assert len(waited) == waits


def test_the_front_knows_the_launchers():
    ranks = tuple(names.rank for names in LAUNCHERS.values())
    assert ranks == mmseg_ext_cli._RANKS
