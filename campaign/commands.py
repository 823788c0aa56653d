"""The tools that write, what they read, and what comes out of them."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from common import Process, contents, run_tool
from samples import DETECTOR

__all__ = ['COMMANDS', 'Command', 'Undisturbed', 'hidden']

_CONFIG = Path(__file__).with_name('config.py')


@dataclass(frozen=True)
class Command:
    """A tool with its arguments.

    Attributes:
        tool: Its file, in ``tools``.
        argv: Returns its arguments, given the folder of the samples and that
            of the results.
        processes: Whether it takes ``--nproc``.
        again: What to add when it is started again.
        results: Returns what has to be the same in the end.
    """

    tool: str
    argv: Callable[[Path, Path], Sequence[str | Path]]
    processes: bool = False
    again: Sequence[str] = ()
    results: Callable[[Path], dict[str, str]] = contents

    def start(
        self, data: Path, out: Path, nproc: int = 1, again: bool = False
    ) -> Process:
        """Start it, in a process of its own."""
        argv = [*self.argv(data, out)]
        if self.processes:
            argv += ['--nproc', str(nproc)]
        if again:
            argv += self.again
        return Process(lambda: run_tool(self.tool, *argv))


def _converter(name: str, *inputs: str) -> Command:
    return Command(
        f'dataset_converters/{name}.py',
        lambda data, out: [*(data / i for i in inputs), '--out-dir', out],
        processes=True,
    )


def _weights(work_dir: Path) -> dict[str, str]:
    """Return the SHA-256 of all tensors of the last checkpoint."""
    number = 6  # as config.py says
    state = torch.load(work_dir / f'iter_{number}.pth', weights_only=True)
    momentum = state['optimizer']['state']
    tensors = state['state_dict'] | {
        f'momentum {key}': value['momentum_buffer']
        for key, value in momentum.items()
    }
    return {
        str(key): hashlib.sha256(value.numpy().tobytes()).hexdigest()
        for key, value in tensors.items()
    }


COMMANDS = {
    'camvid': _converter('camvid', 'camvid'),
    'cityscapes': _converter('cityscapes', 'cityscapes'),
    'idd': _converter('idd', 'idd/IDD_Segmentation', 'idd/idd20kII'),
    'labelme': _converter('labelme', 'labelme'),
    'nails': _converter('nails', 'nails'),
    'nuimages': _converter('nuimages', 'nuimages'),
    'sample': Command(
        'make_sample_data.py',
        lambda data, out: ['camvid', out, '--size', '128x96', '--num', '30'],
        processes=True,
    ),
    'browse': Command(
        'browse.py',
        lambda data, out: [
            *(data / 'coco/train.json', '--img-dir', data / 'nails'),
            *('--out-dir', out),
        ],
    ),
    'plot': Command(
        'analysis/plot_log.py',
        lambda data, out: [data / 'logs', '--out-dir', out],
    ),
    'crop': Command(
        'crop_instances.py',
        lambda data, out: [
            *(DETECTOR, data / 'detector.pth', data / 'nails/Images/1'),
            *('--out-dir', out, '--score-thr', '0', '--device', 'cpu'),
        ],
    ),
    'train': Command(
        'train.py',
        lambda data, out: [
            *(_CONFIG, '--work-dir', out, '--cfg-options'),
            f'train_dataloader.dataset.data_root={data / "camvid"}',
        ],
        again=['--resume'],
        results=_weights,
    ),
}


@dataclass
class Undisturbed:
    """What comes out of commands that nothing disturbs, and how fast.

    Args:
        data: The samples.
        folder: Gets their results.
    """

    data: Path
    folder: Path
    _known: dict[str, tuple[dict[str, str], float]] = field(
        default_factory=dict
    )

    def of(self, name: str) -> tuple[dict[str, str], float]:
        """Return the results of a command and its seconds.

        Raises:
            RuntimeError: It fails.
        """
        if name not in self._known:
            command, out = COMMANDS[name], self.folder / name
            self.folder.mkdir(parents=True, exist_ok=True)
            start = time.monotonic()
            process = command.start(self.data, out)
            if process.wait() != 0:
                raise RuntimeError(f'{name} fails:\n{process.said}')
            seconds = time.monotonic() - start
            self._known[name] = command.results(out), seconds
        return self._known[name]


def hidden(folder: Path) -> list[str]:
    """List the hidden files that a run left, but for a crop run's note."""
    names = (path.name for path in folder.rglob('.*'))
    return sorted(name for name in names if name != '.unfinished')
