"""Write a config that trains on a folder of annotated images.

Reads what annotators export: masks of indices or colors, VOC, CVAT, labelme,
COCO, YOLO-seg, Supervisely, Roboflow, trees as of Cityscapes, and any folder
of images beside one of masks. Says what it took the folder for, and why; where
several readings fit, it lists them and stops until --format says which.

Nothing is written to DATA. Writes

  OUT.py                 a config for mim, MMSeg's or MMDet's tools and ours
  OUT_files/train.txt    the splits: those of DATA, else by class and sequence
  OUT_files/labels/      label maps or COCO files, where DATA has none to train
  OUT_files/labels_001.jpg     twelve images with their labels: look at them
  OUT_files/fingerprint.json   the data in numbers
  OUT_files/doctor/      what the doctor says of all that

Each choice in the config, such as the crop or the number of iterations, has
the number behind it in a comment. The batch is as large as the memory bears,
by a step that is tried.
"""

import argparse
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from mmseg_ext_cli import call, constant, load, make_parser, spell

EXAMPLES = """\
examples:
  a folder of images and masks
    %(prog)s data/mine --out mine.py
  labelme's JSON files, each object by itself, on a GPU with 8 GB
    %(prog)s data/labelme --out mine.py --task instance --memory 7
  color masks without a list; videos stay in one split: a_001.png, a_002.png
    %(prog)s data/mine --out mine.py --classes names.csv --group '(.*)_'
"""

#: Lines that go on begin below their last column, if that is no farther right.
INDENT = 40


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, EXAMPLES)
    parser.add_argument(
        'data', type=Path, metavar='DATA', help='folder of images and labels'
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='OUT.py',
        help='config to write, and a folder OUT_files beside it',
    )
    parser.add_argument(
        '--task',
        choices=constant('mmseg_ext.planning.init:TASKS'),
        help='a class for each pixel, or a mask for each object (default: '
        'instance for COCO and YOLO, else semantic)',
    )
    parser.add_argument(
        '--model',
        metavar='fast|accurate|CONFIG',
        help='a light network, a strong one, or the name or path of a config '
        'to inherit (default: accurate on a GPU, fast without)',
    )
    parser.add_argument(
        '--classes',
        type=Path,
        metavar='FILE',
        help='list of classes: class_dict.csv, labelmap.txt, _classes.csv, '
        'data.yaml or a text file with one name a line (default: the one in '
        'DATA, if there is any)',
    )
    parser.add_argument(
        '--format',
        metavar='NAME',
        help='how to read DATA, where several readings fit',
    )
    parser.add_argument(
        '--val',
        type=float,
        default=0.2,
        metavar='SHARE',
        help='share of the images for validation, where DATA has no splits '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--group',
        metavar='REGEX',
        help='images whose names have the same match, or the same first '
        'group of it, stay in one split (default: sequences and '
        'near-duplicates stay together)',
    )
    parser.add_argument(
        '--memory',
        type=float,
        metavar='GB',
        help='what a training may take (default: most of what is free)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='another seed divides the images otherwise (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--nproc',
        type=int,
        help='number of processes that read and draw (default: one a core)',
    )
    parser.add_argument(
        '--no-progress',
        dest='progress',
        action='store_false',
        help='show no progress bar',
    )
    parser.add_argument(
        '--yes',
        action='store_true',
        help='do not ask before writing, as in a script',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the config, and say what is next."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    ask = not options.pop('yes') and sys.stdin.isatty()
    done = call(
        parser,
        'mmseg_ext.planning.init:init',
        **options,
        tell=tell,
        may_write=agreed if ask else None,
    )
    if done is None:
        parser.exit(1, 'nothing was written\n')
    show(done)


def tell(line: str) -> None:
    """Print a line, broken where the terminal ends, columns below columns.

    Names in it may be anything.
    """
    text = load('mmseg_ext.utils.text:printable')(line)
    [start] = re.findall(r'^ *(?:\S+(?: \S+)*  +)*', text)
    if len(start) > INDENT:
        [start] = re.findall(r'^ *(?:\S+(?: \S+)*  +)?', text)
    lines = textwrap.wrap(
        text[len(start) :],
        shutil.get_terminal_size().columns,
        initial_indent=start,
        subsequent_indent=' ' * max(len(start), 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
    print(*lines, sep='\n', flush=True)


def agreed(question: str) -> bool:
    """Ask, and return whether the answer is yes."""
    answer = input(f'{question} [Y/n] ').strip().lower()
    return answer in ('', 'y', 'yes')


def show(done: Any) -> None:
    """Print what was written, what the doctor says, and what is next."""
    levels = load('mmseg_ext.doctor.findings:Level')
    counts = [
        f'{number} {level.word}{"s" * (number != 1)}'
        for level in sorted(levels, reverse=True)
        for number in [done.diagnosis.number_of(level)]
    ]
    page = done.files / 'doctor' / load('mmseg_ext.doctor.visit:PAGE')
    tell(f'doctor: {", ".join(counts)}, see {page}')
    for finding in done.diagnosis.findings:
        if finding.level == levels.WARNING:
            tell(f'  {finding.code}: {finding.text}')
    print('next:')
    for path in done.sheets:
        tell(f'  look at {path}: are these your labels?')
    print(f'  {spell("train", str(done.config))}')


if __name__ == '__main__':
    main()
