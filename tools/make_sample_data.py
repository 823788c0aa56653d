"""Draw a sample data set with exact labels from a seed: streets, or hands.

Each format is written as the original lies on disk, so converters, data sets
and training can be tried before the original is there. The same arguments give
the same files; a run that was stopped is continued by starting it again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmseg_ext_cli import call, make_parser, spell


class Format(NamedTuple):
    """A raw format.

    Attributes:
        size: Width and height by default.
        help: What is written.
        next: What to do with the data, in a few words.
        command: The command that does it, with its arguments; {root} is where
            the data was written.
        counted: What the numbers that the writer returns count.
        parts: How the scenes are divided.
    """

    size: str
    help: str
    next: str
    command: tuple[str, ...]
    counted: str = 'images'
    parts: str = (
        'three fifths are for training and one fifth each for validation and '
        'test'
    )


FORMATS = {
    'camvid': Format(
        '480x360',
        'CamVid, 32 classes: {train,val,test}/X.png, '
        '{train,val,test}_labels/X_L.png, class_dict.csv',
        'a small model for a CPU',
        (
            *('train', 'fpn_lite0_1xb4-400_sample-192x256.py'),
            *('--cfg-options', 'data_root={root}'),
        ),
    ),
    'cityscapes': Format(
        '1024x512',
        'Cityscapes: leftImg8bit/SPLIT/CITY/X_leftImg8bit.png, '
        'gtFine/SPLIT/CITY/X_gtFine_{instanceIds,labelIds,color}.png, '
        'X_gtFine_polygons.json',
        'COCO files of the instances',
        ('convert cityscapes', '{root}'),
    ),
    'idd': Format(
        '480x360',
        'IDD 20K, 26 classes at level 3, both parts, IDD_Segmentation and '
        'idd20kII: leftImg8bit/SPLIT/SEQ/X_leftImg8bit.{png,jpg}, '
        'gtFine/SPLIT/SEQ/X_gtFine_polygons.json; a third of the sequences '
        'is of a smaller size',
        'label maps and splits',
        (
            *('convert idd', '{root}/IDD_Segmentation', '{root}/idd20kII'),
            *('--out-dir', '{root}/idd'),
        ),
        counted='images, the larger ones',
    ),
    'nails': Format(
        '480x360',
        'hands with masks of their nails: Images/{1,2,3,4}/X.png, '
        'Masks/{1,2,3,4}/X.png',
        'COCO files',
        ('convert nails', '{root}'),
        parts='they are not split',
    ),
    'nuimages': Format(
        '1600x900',
        'nuImages, 25 classes: v1.0-{train,val,test}/TABLE.json, '
        'samples/CAM/X.jpg, sweeps/CAM/X.jpg; each scene is a key frame',
        'label maps and COCO files',
        ('convert nuimages', '{root}'),
        counted='key frames',
    ),
}


def image_size(text: str) -> tuple[int, int]:
    """Read ``480x360``."""
    width, separator, height = text.lower().partition('x')
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(
            f'expected WIDTHxHEIGHT in pixels, as in 480x360, got {text!r}'
        )
    return int(width), int(height)


def add_options(parser: argparse.ArgumentParser, form: Format) -> None:
    """Add the options of a format; all have the same."""
    parser.add_argument('out_dir', type=Path, metavar='OUT', help='folder')
    parser.add_argument(
        '--num',
        type=int,
        default=40,
        help=f'number of scenes; {form.parts} (default: %(default)s)',
    )
    parser.add_argument(
        '--size',
        type=image_size,
        default=form.size,
        metavar='WxH',
        help='width and height in pixels (default: %(default)s)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='other seeds give other scenes (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace files of another seed or size',
    )
    parser.add_argument(
        '--nproc',
        type=int,
        default=1,
        help='number of processes (default: %(default)s)',
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    formats = parser.add_subparsers(
        dest='format', required=True, metavar='FORMAT'
    )
    for name, form in FORMATS.items():
        add_options(formats.add_parser(name, help=form.help), form)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Write the data set and say what to do with it."""
    parser = build_parser()
    args = vars(parser.parse_args(argv))
    name, out_dir = args.pop('format'), args['out_dir']
    counts = call(parser, f'mmseg_ext.sample_data:write_{name}', **args)
    parts = ', '.join(f'{split} {count}' for split, count in counts.items())
    width, height = args['size']
    form = FORMATS[name]
    print(f'{out_dir}: {parts} {form.counted} of {width}x{height}')
    command = spell(*(word.format(root=out_dir) for word in form.command))
    print(f'next: {command}  # {form.next}')


if __name__ == '__main__':
    main()
