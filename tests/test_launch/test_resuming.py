import math
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmseg_ext.launch.resuming import resumption_of, schedule_warning

LINEAR = dict(type='LinearLR', by_epoch=False, begin=0, end=2)
POLY = dict(type='PolyLR', by_epoch=False, begin=2, end=10)
STEPS = dict(type='MultiStepLR', by_epoch=True, milestones=[2], end=5)


def resumed(at, total, own, ends, rate=0.1, epochs=1):
    """Return where a run goes on, and what is warned of."""
    runner = SimpleNamespace(
        max_iters=total,
        max_epochs=epochs,
        cfg=Config(dict(param_scheduler=own)),
    )
    states = [
        dict(param_name='lr', end=end, by_epoch=epochs > 1) for end in ends
    ]
    group = dict(lr=rate, initial_lr=0.1)
    checkpoint = dict(
        meta=dict(iter=at),
        optimizer=dict(param_groups=[group]),
        param_schedulers=states,
    )
    start = resumption_of(runner, 'a.pth', checkpoint)
    return start, schedule_warning(runner, start)


@pytest.mark.parametrize(
    ('at', 'total', 'own', 'ends', 'rate', 'epochs', 'stays'),
    [
        # The same length, and a longer one, before and after the end.
        (6, 10, [LINEAR, POLY], [2, 10], 0.05, 1, None),
        (10, 10, [LINEAR, POLY], [2, 10], 1e-5, 1, None),
        (6, 20, [LINEAR, POLY | dict(end=20)], [2, 10], 0.05, 1, 'its last'),
        (10, 20, [LINEAR, POLY | dict(end=20)], [2, 10], 1e-5, 1, '1e-05'),
        # The config's own schedule is as short; but it is over.
        (6, 20, [LINEAR, POLY], [2, 10], 0.05, 1, None),
        (10, 20, [LINEAR, POLY], [2, 10], 1e-5, 1, '1e-05'),
        # A warm-up alone, and schedules without an end.
        (6, 20, [LINEAR], [2], 0.1, 1, None),
        (6, 20, [LINEAR, POLY], [2, 10**9], 1e-5, 1, None),
        (6, 20, [], [], 0.1, 1, None),
        # Ten iterations an epoch.
        (50, 100, STEPS | dict(end=10), [5], 0.01, 10, '0.01'),
        (50, 50, STEPS, [5], 0.01, 5, None),
    ],
)
def test_a_schedule_that_ends_early(at, total, own, ends, rate, epochs, stays):
    start, line = resumed(at, total, own, ends, rate, epochs)
    assert start.rate == rate
    if stays is None:
        assert line is None
        return
    assert f'ends at iteration {start.end:g}, so it stays at {stays}' in line
    assert f' to iteration {total}; ' in line
    assert 'cfg_options load_from=a.pth in place of resume' in line


def test_several_optimizers():
    """Their states have names, and are left alone."""
    runner = SimpleNamespace(max_iters=9, max_epochs=1, cfg=Config({}))
    one = dict(param_groups=[dict(lr=0.1)])
    checkpoint = dict(
        meta=dict(iter=2),
        optimizer=dict(a=one, b=one),
        param_schedulers=dict(a=[dict(param_name='lr', end=3)]),
    )
    start = resumption_of(runner, 'a.pth', checkpoint)
    assert start == ('a.pth', 2, None, None, math.inf)
    assert schedule_warning(runner, start) is None
