"""What a test costs more that leaves a run directory behind.

The light CamVid config on real images, or on sample images, as ``mim test``
runs it from files to scores, with the hook ``EvaluationRecord`` and without.
There is one thread, and no process beside the one that tests. The last layer
is fitted to some labels, so that most pixels are right, as those of a trained
network; the fewer are, the longer counting takes.

Run by itself it prints what share of the time recording takes, without and
with how sure the model is.
"""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.runner import Runner

from test_run import IMAGES, build_runner, camvid, fit, silently
from timing import Row, interleaved

ROUNDS = 11

#: The hook, by what is recorded.
WAYS: dict[str, dict[str, Any]] = {
    'recorded': {'type': 'EvaluationRecord'},
    'recorded with probs': {'type': 'EvaluationRecord', 'probs': True},
}


def run() -> list[Row]:
    """Time tests with and without in turn."""
    seconds = times()
    return [
        Row(f'test, {way}', 'not recorded', seconds[way], seconds['plain'])
        for way in WAYS
    ]


def times() -> dict[str, float]:
    """Return seconds per test of each way, and of none as ``plain``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = camvid(folder)
        checkpoint = str(folder / 'fitted.pth')
        fit(pair.stock, checkpoint, folder)
        tests = {}
        scores = []
        for way in ['plain', *WAYS]:
            hooks = [WAYS[way]] if way in WAYS else []
            runner = build_runner(
                deepcopy(pair.ours), folder / way, checkpoint, hooks
            )
            scores.append(silently(runner.test))  # loads the weights, too
            tests[way] = _tested(runner)
        if any(score != scores[0] for score in scores):
            raise RuntimeError(f'scores differ: {scores}')
        return interleaved(tests, ROUNDS)


def _tested(runner: Runner) -> Callable[[], object]:
    return lambda: silently(runner.test_loop.run)


def main() -> None:
    """Print the share of the time that recording takes."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    seconds = times()
    for way in WAYS:
        more = seconds[way] / seconds['plain'] - 1
        each = seconds['plain'] / IMAGES * 1e3
        print(f'{way}: {more:+.1%} of {each:.0f} ms an image')


if __name__ == '__main__':
    main()
