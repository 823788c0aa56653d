"""Where a resumed training goes on, and what its learning rate does then."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import Runner

from mmseg_ext.launch.errors import type_name

__all__ = ['Resumption', 'resumption_of', 'schedule_warning', 'schedulers_of']


class Resumption(NamedTuple):
    """Where a training goes on.

    Attributes:
        path: The checkpoint.
        iter: How many iterations were trained.
        rate: The learning rate of the next one, from the checkpoint; None if
            there are several optimizers.
        first_rate: The learning rate before any schedule; None likewise.
        end: From this iteration on no schedule of the checkpoint changes the
            learning rate; infinite if one has no end, or there is none.
    """

    path: str
    iter: int
    rate: float | None
    first_rate: float | None
    end: float


def resumption_of(
    runner: Runner, path: str, checkpoint: Mapping[str, Any]
) -> Resumption:
    """Return where a training goes on from a checkpoint.

    mmengine takes optimizer and schedules from the checkpoint as they are
    there, with their learning rates and ends, whatever the config says now.

    Args:
        runner: With a built training loop.
        path: The checkpoint, for messages.
        checkpoint: What it holds.
    """
    optimizer = checkpoint['optimizer']
    groups = optimizer.get('param_groups')
    # Where parameters have rates of their own, the first is the base's.
    base = optimizer.get('base_param_settings') or (
        groups[0] if groups and isinstance(groups, list) else None
    )
    # A foreign file may have anything there.
    base = base if isinstance(base, dict) else {}
    states = checkpoint.get('param_schedulers') or []
    ends = [
        _iterations(state['end'], state.get('by_epoch', True), runner)
        for state in (states if isinstance(states, list) else [])
        if isinstance(state, dict)
        and state.get('param_name') == 'lr'
        and 'end' in state
    ]
    return Resumption(
        path,
        checkpoint['meta']['iter'],
        _number(base.get('lr')),
        _number(base.get('initial_lr')),
        max(ends, default=math.inf),
    )


def schedule_warning(runner: Runner, start: Resumption) -> str | None:
    """Return a line if a resumed training outlives its schedule.

    Args:
        runner: With a built training loop.
        start: Where it goes on.

    Returns:
        The line; None if the learning rate does what the config says.
    """
    if start.end >= runner.max_iters or start.iter >= runner.max_iters:
        return None
    own = _own_end(runner.cfg, runner)
    over = start.iter >= start.end
    sunk = (
        over
        and start.rate is not None
        and start.first_rate is not None
        and start.rate < start.first_rate
    )
    # A warm-up alone ends early, and so does what the config says itself.
    if own <= start.end and not sunk:
        return None
    stays = (
        f'it stays at {start.rate:g}'
        if over and start.rate is not None
        else 'it stays at its last value from there'
    )
    return (
        f'the schedule of the learning rate in {start.path} ends at iteration '
        f'{start.end:g}, so {stays} to iteration {runner.max_iters}; to train '
        'with a whole schedule, start anew from the weights: cfg_options '
        f'load_from={start.path} in place of resume'
    )


def schedulers_of(cfg: Config) -> list[Any]:
    """Return the schedulers of a config with one optimizer."""
    found = cfg.get('param_scheduler') or []
    return [found] if isinstance(found, dict) else list(found)


def _own_end(cfg: Config, runner: Runner) -> float:
    """Return from which iteration on a config's schedules change nothing."""
    return max(_own_ends(cfg, runner), default=math.inf)


def _own_ends(cfg: Config, runner: Runner) -> Iterator[float]:
    """Yield the ends of the schedules of learning rates, in iterations."""
    for scheduler in schedulers_of(cfg):
        if type_name(scheduler).endswith(('LR', 'LRScheduler')):
            end = scheduler.get('end', scheduler.get('total_steps', INF))
            yield _iterations(end, scheduler.get('by_epoch', True), runner)


def _iterations(end: Any, by_epoch: bool, runner: Runner) -> float:
    """Return the end of a schedule in iterations."""
    number = _number(end)
    if number is None or number >= INF:
        return math.inf
    length = math.ceil(runner.max_iters / max(1, runner.max_epochs))
    return number * length if by_epoch else number


def _number(value: Any) -> float | None:
    """Return what should be a number, of a foreign file."""
    return value if isinstance(value, (int, float)) else None
