"""How much memory a training step takes, measured."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmseg_ext.planning.machine import Machine
from mmseg_ext.planning.plan import TOO_MUCH

__all__ = ['StepMemory']

#: Objects of a random image.
_MOST_OBJECTS = 100

#: What the process runs, where the same modules are found as here.
_PROGRAM = (
    'import sys; sys.path[:] = {path!r}; '
    'from mmseg_ext.planning.training_step import serve; serve()'
)


class StepMemory:
    """Measures one training step of a config in a process of its own.

    One process serves several batch sizes, so that PyTorch is imported once.
    It builds the model without loading weights, takes a batch of random images
    of the crop's size with random labels of all classes, and steps twice, the
    optimizer's state included. On a GPU the peak of what PyTorch reserves
    counts, on a CPU that of the process's resident memory, and the processes
    that load images are added.

    Args:
        config: The config.
        machine: Where it will train.
        objects: Of a random image, for a detector; at most 100 count, as a
            crop has fewer than an image.
    """

    def __init__(
        self, config: Path, machine: Machine, objects: int = 0
    ) -> None:
        self._request = dict(
            config=os.fspath(config),
            device=machine.device,
            memory=machine.memory,
            objects=min(objects, _MOST_OBJECTS),
        )
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> 'StepMemory':
        return self

    def __exit__(self, *args: object) -> None:
        self._end()

    def __call__(self, batch_size: int) -> int:
        """Return the bytes that one step takes.

        A step that is out of memory takes more than there is: 2**63 - 1.

        Raises:
            ValueError: The step fails for another reason, which is named.
        """
        reply = self._ask(batch_size)
        if 'bytes' in reply:
            return int(reply['bytes'])
        # Systems that are out of memory kill what takes the most.
        if reply.get('signal') == signal.SIGKILL or reply.get('too_much'):
            return TOO_MUCH
        reason = reply.get('fault') or (
            'the process that measured it ended by '
            + _signal_name(reply['signal'])
        )
        raise ValueError(
            f'{self._request["config"]}: a training step with batch size '
            f'{batch_size} cannot be measured: {reason}'
        )

    def _ask(self, batch_size: int) -> dict[str, Any]:
        """Return what the process says, or by what signal it ended."""
        process = self._process = self._process or _started()
        assert process.stdin is not None
        assert process.stdout is not None
        # That it is gone, what it says shows.
        with suppress(BrokenPipeError):
            request = {**self._request, 'batch_size': batch_size}
            process.stdin.write(json.dumps(request) + '\n')
            process.stdin.flush()
        line = process.stdout.readline()
        if line.endswith('\n'):
            return json.loads(line)
        # Ended or killed: another one serves the next batch size.
        code = process.wait()
        self._end()
        if code < 0:
            return dict(signal=-code)
        return dict(
            fault=f'the process that measures ended with status {code}'
        )

    def _end(self) -> None:
        """End the process, and what it has started."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # It waits for the end, and closes the pipes.
        with self._process, suppress(BrokenPipeError):
            pass
        self._process = None


def _started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-c', _PROGRAM.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # What upstream logs and warns of.
        stderr=subprocess.DEVNULL,
        text=True,
        # Threads that wait leave the cores to others; the user's own wins.
        env={'OMP_WAIT_POLICY': 'PASSIVE', **os.environ},
        # A group of its own, to end it as a whole.
        start_new_session=True,
    )


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f'signal {number}'
