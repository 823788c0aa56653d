"""Attacks on what torch loads once ``mmseg_ext`` is imported."""

import io
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.tensor
from mmengine.logging import HistoryBuffer, MessageHub

from helpers import pickle_programs
from mmseg_ext.unpickling import (
    _DTYPES,
    allow_mmengine_checkpoints,
    without_torch_records,
)


class Call:
    """Pickled as a call, then given a state if there is one."""

    def __init__(self, function, *args, state=None):
        self.parts = (function, args, *([] if state is None else [state]))

    def __reduce__(self):
        return self.parts


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def load(data):
    return torch.load(io.BytesIO(data), weights_only=True)


def hub_state():
    hub = MessageHub('test_unpickling')
    for name in ('train/loss', 'train/lr'):
        for step in range(3):
            hub.update_scalar(name, step / 2, step + 1)
    hub.update_info('best', np.float64(71.5))
    hub.update_info('counts', np.arange(6).reshape(2, 3).T)
    return hub.state_dict()


def test_the_message_hub_is_saved_again_as_it_was():
    data = saved({'message_hub': hub_state()})
    loaded = load(data)
    assert saved(loaded) == data
    hub = MessageHub('test_unpickling_resumed')
    hub.load_state_dict(loaded['message_hub'])
    assert saved({'message_hub': hub.state_dict()}) == data
    buffer = hub.get_scalar('train/loss')
    assert type(buffer) is HistoryBuffer
    assert [type(part) for part in buffer.data] == [np.ndarray] * 2
    assert buffer.statistics('mean') == 1.5 / 6
    buffer.update(4.0)
    assert buffer.max() == 4.0


@pytest.mark.parametrize('code', _DTYPES)
@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('shape', [(3,), (2, 3), ()])
def test_numbers_come_back(code, order, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(order + code)
    turned = np.asfortranarray(array)
    for given, back in zip(
        [array, turned], load(saved([array, turned])), strict=True
    ):
        assert isinstance(back, np.ndarray)
        # NumPy itself turns bytes into the order of the machine.
        native = given.astype(given.dtype.newbyteorder('='))
        np.testing.assert_array_equal(back, native, strict=True)
        assert back.flags.f_contiguous == given.flags.f_contiguous
    scalar = np.dtype(code).type(1)
    back = load(saved(scalar))
    assert (type(back), back) == (type(scalar), scalar)


def test_an_array_is_one_of_numpy_when_it_is_used():
    back = load(saved(np.arange(4.0)))
    back.shape = (2, 2)
    back += 1
    assert back.T.sum() == 10
    assert torch.from_numpy(back).tolist() == [[1, 2], [3, 4]]
    assert type(pickle.loads(pickle.dumps(back))) is np.ndarray


def filled(*state, cls=np.ndarray):
    """An array that gets a state of the attacker's."""
    rebuild = np.zeros(1).__reduce__()[0]
    return Call(rebuild, cls, (0,), b'b', state=state)


def buffer(**changes):
    """A history buffer that gets a state of the attacker's."""
    made = HistoryBuffer([1.0, 2.0], [1, 1])
    state = {**vars(made), **changes}
    made.__dict__.clear()
    made.__dict__.update({k: v for k, v in state.items() if v is not None})
    made.__dict__.pop('statistics_methods', None)
    return made


FLOAT = np.dtype('f8')


@pytest.mark.parametrize(
    'value',
    [
        pytest.param(Call(np.ndarray, (1,), 'O', b'A' * 8), id='raw objects'),
        pytest.param(Call(np.ndarray, (1,)), id='an array'),
        pytest.param(np.array([{}], object), id='objects'),
        pytest.param(np.zeros(1, 'i4,f4'), id='structured'),
        pytest.param(np.zeros(1, 'S8'), id='bytes'),
        pytest.param(np.zeros(1, 'M8[s]'), id='times'),
        pytest.param(np.zeros(1, 'c16'), id='complex'),
        pytest.param(np.float128(1), id='long double'),
        pytest.param(np.void(b'A' * 8), id='void'),
        pytest.param(
            filled(1, (1,), np.dtype('O'), False, [{}]), id='list of objects'
        ),
        pytest.param(filled(1, (1,), FLOAT, False, [1.0]), id='list'),
        pytest.param(filled(1, (2,), FLOAT, False, b'A' * 8), id='short'),
        pytest.param(filled(1, (10**12,), FLOAT, False, b''), id='huge'),
        pytest.param(filled(1, (-1,), FLOAT, False, b'A' * 8), id='negative'),
        pytest.param(
            filled(1, (1 << 62, 4, 0), FLOAT, False, b''), id='overflow'
        ),
        pytest.param(filled((1,), FLOAT, False, b'A' * 8), id='old state'),
        pytest.param(
            filled(1, (1,), Call(np.dtype, '(2,)f8'), False, b'A' * 8),
            id='sub-array',
        ),
        pytest.param(
            filled(1, (1,), FLOAT, False, b'A' * 8, cls=HistoryBuffer),
            id='another class',
        ),
        pytest.param(buffer(mean='x'), id='a method'),
        pytest.param(buffer(max_length='9'), id='length'),
        pytest.param(buffer(_log_history=None), id='no logs'),
        pytest.param(buffer(_log_history=[1.0, 2.0]), id='logs as a list'),
        pytest.param(buffer(_log_history=np.zeros(3)), id='more logs'),
        pytest.param(buffer(_log_history=np.zeros((2, 1))), id='a table'),
    ],
)
def test_what_mmengine_does_not_write_is_refused(value):
    """By torch itself too, once the package is imported."""
    data = saved({'x': [value, np.float64(1)]})
    with pytest.raises(pickle.UnpicklingError):
        load(data)


def test_a_buffer_does_not_change_its_class(monkeypatch):
    """HistoryBuffer itself would let a file replace the statistics of all."""
    own = HistoryBuffer()._statistics_methods
    changed = {**own, 'mean': HistoryBuffer.max, 'new': HistoryBuffer.min}
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', changed)
    data = saved(HistoryBuffer([1.0, 2.0], [1, 1]))
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', dict(own))
    assert load(data).statistics('mean') == 1.5
    assert HistoryBuffer._statistics_methods == own
    # It would have, so the test does not pass for want of an attack.
    torch.load(io.BytesIO(data), weights_only=False)
    assert HistoryBuffer._statistics_methods == changed


def test_an_array_cannot_be_filled_twice():
    """A tensor may share its memory, which NumPy would free."""
    fill = pickletools.optimize(pickle.dumps(np.arange(3.0), protocol=2))
    assert fill.endswith(b'tb.')
    code = fill[:-1] + fill[fill.index(b'(K\x01K\x03') :]
    # It is a proper pickle: NumPy itself has nothing against it.
    assert pickle.loads(code).tolist() == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError, match='filled twice'):
        pickle_programs.run(code)
    assert pickle_programs.run(fill).tolist() == [0, 1, 2]


def test_another_allowance_of_a_name_does_not_count():
    """Torch would take one of the two by chance."""
    torch.serialization.add_safe_globals([np.ndarray, np.dtype, getattr])
    allow_mmengine_checkpoints()
    entries = torch.serialization.get_safe_globals()
    assert not {np.ndarray, np.dtype, getattr} & {*entries}
    with pytest.raises(pickle.UnpicklingError):
        load(saved(Call(np.ndarray, (1,), 'O', b'A' * 8)))


def test_records_of_torch_are_put_aside_and_come_back():
    torch.serialization.add_safe_globals([Path])
    before = {*torch.serialization.get_safe_globals()}
    assert torch.distributed.tensor.DTensor in before
    with without_torch_records():
        inside = {*torch.serialization.get_safe_globals()}
    assert Path in inside
    assert not [
        entry
        for entry in inside
        if getattr(entry, '__module__', '').startswith('torch.')
    ]
    assert {*torch.serialization.get_safe_globals()} == before


def test_no_pickle_gives_more_than_data():
    """100,000 random programs of all names that may be loaded.

    On a list with NumPy's own classes and HistoryBuffer they find objects made
    of raw bytes, replaced statistics and crashes.
    """
    runs = [
        subprocess.Popen(
            [sys.executable, pickle_programs.__file__, str(seed), '50000'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        for seed in range(2)
    ]
    for run in runs:
        out, error = run.communicate()
        assert run.returncode == 0, error[-2000:]
        given, peak = map(int, out.split()[-2:])
        # Many get through, and none takes more than the imports do, in KiB.
        assert given > 10_000
        assert peak < 2 << 20
