"""Cut out each instance that a detector finds in images, such as nails.

Writes::

    OUT_DIR/<image>_001.png   the instance with the highest score
    OUT_DIR/<image>_002.png   and so on
    OUT_DIR/crops.csv         a row for each crop: image and crop; x1, y1, x2,
                              y2 of its box and the area of its mask in pixels;
                              score; angle of its long axis, in degrees to the
                              right of upright; label

Images of several folders give as many folders of crops. An image that cannot
be read, or that the detector fails for, is left out and listed at the end,
with exit status 1. Text in crops.csv that a spreadsheet would run as a formula
has an apostrophe in front.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import (
    add_model_and_images,
    call,
    constant,
    load,
    make_parser,
    tell_left_out,
    tell_other_kinds,
)

EXAMPLES = """\
examples:
  the nails in some photographs
    %(prog)s CONFIG.py CHECKPOINT.pth hand.jpg more_hands/
  upright, on white
    %(prog)s CONFIG.py CHECKPOINT.pth hands/ --upright \\
        --background white
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, EXAMPLES)
    add_model_and_images(parser, 'MMDet config file')
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('crops'),
        help='folder to write: new, empty, or of the same command when it '
        'was stopped (default: %(default)s)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='leave out what scores less (default: %(default)s)',
    )
    parser.add_argument(
        '--pad',
        type=float,
        default=0.1,
        help='what is added on each side, relative to the size of the '
        'instance (default: %(default)s)',
    )
    parser.add_argument(
        '--background',
        default=constant('mmseg_ext.inference.crops:KEEP'),
        metavar='keep|transparent|COLOR',
        help='what becomes of all but the instance; a color is a name or a '
        'code such as #808080 (default: %(default)s)',
    )
    parser.add_argument(
        '--upright',
        action='store_true',
        help='turn each instance so that its long axis is vertical',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='images that the detector takes at once (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:0 (default: a GPU if there is one)',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Crop instances."""
    parser = build_parser()
    args = parser.parse_args(argv)
    # Colors have many names, which Pillow knows.
    parse_background = load('mmseg_ext.inference.crops:parse_background')
    try:
        args.background = parse_background(args.background)
    except ValueError as error:
        parser.error(f'argument --background: {error}')
    report = call(
        parser, 'mmseg_ext.inference.crop_files:crop_files', **vars(args)
    )
    print(
        f'{args.out_dir}: {report.crops} crops of {report.images} images, '
        'listed in crops.csv'
    )
    tell_other_kinds(report.others)
    tell_left_out(parser, report.unreadable, args.images)


if __name__ == '__main__':
    main()
