"""See the whole way once, in a few minutes on a CPU.

Writes a small sample data set in CamVid's raw format and a config with a
mistake, lets the doctor find and mend it, trains a light model with MIM, tests
it before and after, and lets ``MMSegInferencer`` segment images that it has
not seen. Ends with mIoU, times and where the pictures are.
Needs MIM: pip install openmim.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmseg_ext_cli import (
    call,
    load,
    make_parser,
    read_constant,
    spell,
    wait_passively,
)

CONFIG = (
    Path(__file__).resolve().parents[1]
    / 'configs/demo/fpn_lite0_1xb4-400_sample-192x256.py'
)
SIZE = (320, 240)  # (width, height)
WRITER = 'mmseg_ext.sample_data:write_camvid'
#: The mistake of the first config: a head for the classes of the release,
#: where the data set has those of the benchmark.
DRAFT = """\
_base_ = {config!r}

model = dict(decode_head=dict(num_classes=32))
dataset = dict(data_root={data!r})
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
"""
#: With fewer, some split has none.
LEAST_IMAGES = 5


class Demo:
    """The steps, and how long each took.

    Args:
        parser: The one that read the command line.
        out_dir: Folder for everything that is written.
        num: Number of sample images.
        iterations: Number of training iterations.
    """

    def __init__(
        self,
        parser: argparse.ArgumentParser,
        out_dir: Path,
        num: int,
        iterations: int,
    ) -> None:
        self.parser = parser
        self.data = out_dir / 'data'
        self.work_dir = out_dir / 'train'
        self.out_dir = out_dir
        self.num = num
        self.iterations = iterations
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        """Run all steps and print the summary."""
        untrained = self.out_dir / 'untrained.pth'
        trained = self.work_dir / f'iter_{self.iterations}.pth'
        # Imported before a step takes its time.
        load(WRITER)
        find_mim()
        with self._step('sample data'):
            call(self.parser, WRITER, self.data, num=self.num, size=SIZE)
        with self._step('doctor'):
            config = self._mend()
        with self._step('test, untrained'):
            save_untrained(untrained)
            before = self._test(untrained)
        with self._step('train'):
            mim(
                *('train', trainer(), config, '--work-dir', self.work_dir),
                '--cfg-options',
                f'train_cfg.max_iters={self.iterations}',
                f'train_cfg.val_interval={self.iterations}',
                f'default_hooks.checkpoint.interval={self.iterations}',
            )
        with self._step('test, trained'):
            after = self._test(trained)
        with self._step('inference'):
            pictures = self._infer(trained)
        print(f'\nmIoU on images not seen in training, {self.data}/test:')
        print(f'  untrained {before:6.2f}\n  trained   {after:6.2f}')
        print('seconds:')
        for name, value in self.seconds.items():
            print(f'  {name:16}{value:6.1f}')
        print('pictures:')
        for folder in pictures:
            print(f'  {folder}')
        print(f'next: {spell("plot", self.work_dir)}')

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Announce a step and take its time."""
        print(f'\n=== {name}', flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def _mend(self) -> Path:
        """Let the doctor look at a config with a mistake; mend it.

        Returns:
            The config that it suggests.
        """
        draft, mended = self.out_dir / 'draft.py', self.out_dir / 'mended.py'
        write = load('mmseg_ext.utils.files:write_text')
        write(draft, DRAFT.format(config=str(CONFIG), data=str(self.data)))
        out = self.out_dir / 'doctor'
        visit = load('mmseg_ext.doctor.visit:visit')
        seen = visit(str(draft), out=out, suggest=mended)
        load('mmseg_ext.doctor.console:show')(seen.diagnosis)
        print()
        for line in seen.suggestion.lines():
            print(line)
        print(f'pictures: {out / "report.html"}')
        return mended

    def _test(self, checkpoint: Path) -> float:
        """Test a checkpoint on the unseen images; return its mIoU."""
        work_dir = self.out_dir / f'test_{checkpoint.stem}'
        prefix = 'test_dataloader.dataset'
        mim(
            *('test', 'mmseg_ext', CONFIG, '--checkpoint', checkpoint),
            *('--eval', 'mIoU', '--work-dir', work_dir),
            '--cfg-options',
            f'{prefix}.data_root={self.data}',
            f'{prefix}.data_prefix.img_path=test',
            f'{prefix}.data_prefix.seg_map_path=test_labels',
        )
        # The newest of the folders that mmengine names by the time.
        scores = max(work_dir.glob('*/*.json'))
        return json.loads(scores.read_text())['mIoU']

    def _infer(self, checkpoint: Path) -> list[Path]:
        """Segment the unseen images; return the folders of pictures."""
        from mmseg.apis import MMSegInferencer

        images = sorted(map(str, self.data.glob('test/*.png')))
        out_dir = self.out_dir / 'inference'
        MMSegInferencer(str(CONFIG), str(checkpoint))(
            images, out_dir=str(out_dir), img_out_dir='vis'
        )
        panels = max(self.out_dir.glob('test_iter_*/*/seg_vis'))
        return [out_dir / 'vis', panels]


def save_untrained(path: Path) -> None:
    """Save the model of the config as it is before training.

    Raises:
        ValueError: The package of its pretrained weights is not installed.
    """
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.runner import set_random_seed
    from mmseg.registry import MODELS

    config = Config.fromfile(CONFIG)
    init_default_scope('mmseg')
    set_random_seed(0)
    model = MODELS.build(config.model)
    try:
        model.init_weights()
    except ImportError as error:
        raise ValueError(error) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'state_dict': model.state_dict()}, path)


def trainer() -> str:
    """Return the package whose training MIM starts.

    With the maintained forks, configs that inherit from MMSeg are found only
    once our package is imported: docs/install.md.
    """
    from mmseg_ext.environment import stack_of

    return 'mmseg' if stack_of() == 'openmmlab' else 'mmseg_ext'


def mim(*arguments: str | Path) -> None:
    """Run MIM of this environment as a user would.

    Raises:
        ValueError: It is not installed, or fails.
    """
    folder = Path(sys.executable).parent
    print('$ mim', *arguments, flush=True)
    # MIM starts `python` by its name.
    path = f'{folder}{os.pathsep}{os.environ["PATH"]}'
    wait_passively()
    done = subprocess.run(
        [find_mim(), *arguments],
        env={**os.environ, 'PATH': path, 'PYTHONWARNINGS': 'ignore'},
    )
    if done.returncode:
        raise ValueError(
            f'mim {arguments[0]} ended with status {done.returncode}; what it '
            'said stands above'
        )


def find_mim() -> Path:
    """Return the path of MIM.

    Raises:
        ValueError: It is not installed in this environment.
    """
    from mmseg_ext.environment import FORKS, requirement, stack_of

    path = Path(sys.executable).with_name('mim')
    if not path.exists():
        own = stack_of() == 'openmmlab'
        needed = requirement('openmim' if own else FORKS['openmim'])
        raise ValueError(
            f'the demo trains with MIM, and there is no {path}; try: pip '
            f'install {shlex.quote(needed)}'
        )
    return path


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='default: %(default)s',
    )
    parser.add_argument(
        '--num',
        type=int,
        default=60,
        help='number of sample images (default: %(default)s)',
    )
    parser.add_argument(
        '--iterations',
        type=int,
        default=read_constant(CONFIG, 'max_iters'),
        help='training iterations (default: %(default)s)',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the demo."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.num < LEAST_IMAGES:
        parser.error(f'--num {args.num}: expected {LEAST_IMAGES} or more')
    if args.iterations < 1:
        parser.error(f'--iterations {args.iterations}: expected 1 or more')
    out_dir = args.out_dir.resolve()
    if ' ' in str(out_dir):
        # mmengine takes blanks out of the values of --cfg-options.
        parser.error(f'--out-dir {out_dir}: expected a path without blanks')
    demo = Demo(parser, out_dir, args.num, args.iterations)
    call(parser, demo.run)


if __name__ == '__main__':
    main()
