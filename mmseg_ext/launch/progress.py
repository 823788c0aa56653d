"""How far a run is: one line, and one for each validation."""

import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import (
    ExitStack,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from datetime import timedelta
from numbers import Real
from typing import Any, TextIO

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from mmseg_ext.launch.noise import Quiet

__all__ = ['FiniteLossHook', 'ProgressHook', 'headlines', 'one_screen', 'span']

#: Plain lines of a run: where the logger's interval gives fewer or more, so
#: many are printed.
_LINES = (5, 20)

#: The first one comes no later than after so many iterations.
_FIRST = 10

#: Speed and loss are means over so many iterations.
_WINDOW = 20

#: What a bar begins with, and how long it is.
_BAR = '{n_fmt}/{total_fmt} |{bar:10}| '

#: Scores that one line of a validation gives, where there are any of them: by
#: the ends of their names. The first that there is tells which is the best.
_HEADLINES = (
    *('mIoU', 'aAcc', 'mAcc', 'mDice', 'mFscore', 'FWIoU'),
    *('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50'),
    *('mAP', 'AP50', 'PQ'),
)

#: Of unknown scores so many.
_UNKNOWN = 4


@contextmanager
def one_screen() -> Iterator[TextIO | None]:
    """Let nothing that is printed tear a bar at the bottom of a terminal.

    Yields:
        What a bar is drawn to; None where standard output is no terminal, or
        one that cannot redraw a line.
    """
    terminal = sys.stdout
    if not terminal.isatty():
        yield None
        return
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(DummyTqdmFile(terminal)))
        if sys.stderr.isatty():
            stack.enter_context(redirect_stderr(DummyTqdmFile(terminal)))
        yield terminal


def span(seconds: float) -> str:
    """Return a time as ``H:MM:SS``."""
    return str(timedelta(seconds=round(seconds)))


def headlines(scores: Mapping[str, Any], first: Iterable[str] = ()) -> str:
    """Return the scores that matter most, in one line.

    Args:
        scores: As metrics return them.
        first: Names of scores that come before all others.
    """
    chosen = {name: scores[name] for name in first if name in scores}
    known = [
        name
        for end in _HEADLINES
        for name in scores
        if name.rpartition('/')[2] == end
    ]
    for name in known or list(scores)[:_UNKNOWN]:
        chosen.setdefault(name, scores[name])
    return '  '.join(
        f'{name} {value:.4g}' if isinstance(value, Real) else f'{name} {value}'
        for name, value in chosen.items()
    )


class ProgressHook(Hook):
    """Hook that shows how far a run is.

    On a terminal a bar is redrawn in place; elsewhere a plain line is printed
    now and then, some 20 of them in a run. Of a validation one line is shown,
    with the most important scores and the best one so far. For the first
    process of a job.

    Args:
        quiet: Keeps the tables of scores.
        terminal: What a bar is drawn to; None for plain lines.
    """

    # After the hook of checkpoints, which knows the best score.
    priority = 'LOWEST'

    def __init__(self, quiet: Quiet, terminal: TextIO | None) -> None:
        self.quiet = quiet
        self.terminal = terminal
        self.scores: dict[str, Any] = {}
        self.best = self._text = ''
        # With a minus where less is better.
        self._best_value = -math.inf
        self._bar: tqdm | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    def before_train(self, runner: Runner) -> None:
        """Begin, or go on with what was the best score until now."""
        keys, sign = _judges(runner)
        score = runner.message_hub.runtime_info.get('best_score')
        if runner.iter and keys and score is not None:
            self._best_value = sign * score
            self.best = f'best {keys[0]} {score:.4g} before this run'
        self._begin(runner, runner.max_iters, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Take the time from here."""
        self._last = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Show an iteration."""
        self._count(data_batch)
        epoch = ''
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            epoch = f'epoch {runner.epoch + 1}/{runner.max_epochs}  '
        self._show(runner.iter + 1, epoch, _loss(runner), _lr(runner))

    def before_val_epoch(self, runner: Runner) -> None:
        """Forget the tables of the last validation."""
        self.quiet.tables.clear()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Show in the bar how far the validation is."""
        if self._bar is not None:
            done = f'validation {batch_idx + 1}/{len(runner.val_dataloader)}'
            self._bar.set_description_str(done)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Show the scores, and the best so far."""
        self.scores = dict(metrics or {})
        keys, sign = _judges(runner)
        where = f'iter {runner.iter}'
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            where = f'epoch {runner.epoch}'
        text = headlines(self.scores, keys)
        name = text.partition(' ')[0]
        found = self.scores.get(name)
        value = float(found) if isinstance(found, Real) else math.nan
        # Which no NaN is.
        if sign * value > self._best_value:
            self._best_value = sign * value
            self.best = f'best {name} {value:.4g} at {where}'
        best = f'  ({self.best})' if self.best else ''
        print(f'{where}  validation  {text or "no scores"}{best}', flush=True)
        if self._bar is not None:
            self._bar.set_description_str(self._text)
        self._last = time.perf_counter()

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin."""
        self.quiet.tables.clear()
        self._begin(runner, len(runner.test_dataloader), 0)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Show a batch."""
        self._count(data_batch)
        self._show(batch_idx + 1)

    def close(self) -> None:
        """End the line of the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _begin(self, runner: Runner, total: int, done: int) -> None:
        """Begin a run of some iterations, of which some may be done."""
        self._total, self._start = total, done
        self._began = self._last = time.perf_counter()
        self._step = _step(runner, total - done)
        if self.terminal is not None:
            self._bar = tqdm(
                total=total,
                initial=done,
                file=self.terminal,
                dynamic_ncols=True,
                bar_format=f'{_BAR}{{desc}}',
            )

    def _count(self, batch: Any) -> None:
        """Count the images of a batch, and the time since the last one."""
        now = time.perf_counter()
        self._recent.append((now - self._last, _images(batch)))
        self._last = now

    def _show(self, iteration: int, epoch: str = '', *numbers: str) -> None:
        """Show the numbers of an iteration, if it is due."""
        done = iteration - self._start
        due = (
            done % self._step == 0
            or iteration == self._total
            or done == min(_FIRST, self._step)
        )
        if self._bar is None and not due:
            return
        left = (self._last - self._began) / done * (self._total - iteration)
        seconds, images = map(sum, zip(*self._recent, strict=True))
        speed = images * get_world_size() / max(seconds, 1e-9)
        loss, lr = numbers or ('', '')
        parts = [
            *(f'eta {span(left)}', loss, f'{speed:.3g} images/s'),
            *(_memory(), lr),
        ]
        parts = [part for part in parts if part]
        if self._bar is None:
            count = str(iteration).rjust(len(str(self._total)))
            text = '  '.join(parts)
            print(f'{epoch}{count}/{self._total}  {text}', flush=True)
        else:
            self._text = _fitting(self._bar, epoch, parts)
            self._bar.set_description_str(self._text, refresh=False)
            self._bar.update(iteration - self._bar.n)


class FiniteLossHook(Hook):
    """Hook that warns once, of the first loss that is no finite number."""

    def __init__(self) -> None:
        self._told = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look at the losses of an iteration."""
        if self._told or not isinstance(outputs, Mapping):
            return
        # mmengine's own hook has waited for these numbers already.
        losses = {
            name: float(torch.as_tensor(value).detach())
            for name, value in outputs.items()
            if 'loss' in name and isinstance(value, (Real, torch.Tensor))
        }
        found = [
            f'{name} is {value}'
            for name, value in losses.items()
            if not math.isfinite(value)
        ]
        if found:
            self._told = True
            runner.logger.warning(
                f'iteration {runner.iter + 1}: {", ".join(found)}; most often '
                'the learning rate is too high, and nothing more is learned: '
                'docs/when_it_fails.md#training'
            )


def _step(runner: Runner, iterations: int) -> int:
    """Return how many iterations lie between plain lines."""
    intervals = [
        hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)
    ]
    fewest, most = (math.ceil(iterations / lines) for lines in _LINES)
    return max(1, min(min(intervals, default=fewest), fewest), most)


def _fitting(bar: tqdm, start: str, parts: list[str]) -> str:
    """Return as many of some texts as fit on a bar's line, whole."""
    columns = bar.format_dict['ncols'] or math.inf
    before = _BAR.format(n_fmt=bar.total, total_fmt=bar.total, bar='')
    room = columns - len(before)
    while len(parts) > 1 and len(start + '  '.join(parts)) > room:
        parts = parts[:-1]
    return start + '  '.join(parts)


def _images(batch: Any) -> int:
    """Return how many images a batch has; 0 if it does not tell."""
    inputs = batch.get('inputs') if isinstance(batch, Mapping) else batch
    # MMDet's semi-supervised training has a dict of several.
    if isinstance(inputs, Mapping):
        return sum(len(value) for value in inputs.values())
    return len(inputs) if isinstance(inputs, Sized) else 0


def _loss(runner: Runner) -> str:
    """Return the loss of the last iterations."""
    losses = runner.message_hub.log_scalars.get('train/loss')
    return f'loss {losses.mean(_WINDOW):.4g}' if losses else ''


def _lr(runner: Runner) -> str:
    """Return the learning rate; the base's, where parameters have others."""
    scalars = runner.message_hub.log_scalars
    rates = scalars.get('train/base_lr') or scalars.get('train/lr')
    return f'lr {rates.current():.3g}' if rates else ''


def _memory() -> str:
    """Return the memory of the GPU, or else of this process."""
    if torch.cuda.is_available():
        return f'{torch.cuda.memory_reserved() / 2**30:.1f} GiB of the GPU'
    try:
        import resource
    except ImportError:  # Windows
        return ''
    # In KiB, but on macOS in bytes.
    unit = 1 if sys.platform == 'darwin' else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f'{peak / 2**30:.1f} GiB'


def _judges(runner: Runner) -> tuple[list[str], int]:
    """Return which scores choose the best checkpoint.

    Returns:
        Their names, and -1 if less is better for the first, else 1.
    """
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            # With 'auto' they are known after the first validation.
            keys, rules = hook.key_indicators or [], hook.rules or [None]
            return keys, -1 if rules[0] == 'less' else 1
    return [], 1
