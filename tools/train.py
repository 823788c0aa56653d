"""Train a segmentor or detector from a config."""

import argparse
import json
import shlex
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from mmseg_ext_cli import launch, make_launch_parser, spell

EXAMPLES = """\
examples:
  train, and validate as the config says
    %(prog)s CONFIG.py --work-dir work_dirs/first
  go on after an interruption, from the latest checkpoint in the work dir
    %(prog)s CONFIG.py --work-dir work_dirs/first --resume
  four GPUs of one machine, or four processes where there is no GPU
    torchrun --standalone --nproc-per-node 4 --no-python \\
        mmseg-ext train CONFIG.py --launcher pytorch
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_launch_parser(
        'Train the model of an MMSegmentation or MMDetection config.', EXAMPLES
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on with an interrupted training: from CHECKPOINT, or '
        'without it from the one that last_checkpoint in the work dir names '
        '(if that is damaged, an error names an earlier one), without that '
        'file from the newest whole one there, or anew if there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with automatic mixed precision (needs a GPU)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the actual batch size over all '
        'GPUs, relative to auto_scale_lr.base_batch_size of the config',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='write for TensorBoard, too (needs the package tensorboard)',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line says."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    run = launch(parser, 'mmseg_ext.launch.runs:run_training', **options)
    if run.files:
        print('\n'.join(next_steps(run.files)))


def next_steps(files: Any) -> Iterator[str]:
    """Yield lines that say what to do after a training.

    Args:
        files: The ``RunFiles`` of the training.
    """
    steps = []
    if files.checkpoint and files.tests:
        package, kind = (
            ('mmdet', 'DetInferencer')
            if files.scope == 'mmdet'
            else ('mmseg', 'MMSegInferencer')
        )
        code = (
            f'import mmseg_ext; from {package}.apis import {kind}; {kind}('
            f'{json.dumps(files.config)}, {json.dumps(files.checkpoint)})'
            '("IMAGE_OR_FOLDER", out_dir="predictions")'
        )
        # Inferencers prepare images as the config does for tests.
        steps.append(spell('test', files.config, files.checkpoint))
        steps.append(f'python -c {shlex.quote(code)}')
    if files.record:
        steps.append(
            spell('report', '--from', files.record, '--out', 'report.html')
        )
    steps.append(spell('plot', files.work_dir))
    if files.tensorboard:
        steps.append(f'tensorboard --logdir {shlex.quote(files.tensorboard)}')
    for start, step in zip_longest(['next: '], steps, fillvalue=' ' * 6):
        yield f'{start}{step}'


if __name__ == '__main__':
    main()
