"""Draw the images of a COCO file with boxes and masks, some on a sheet.

For looking at labels before training. Takes what pycocotools reads: masks may
be polygons or RLE, compressed or not, and masks, boxes and classes may be
missing. Classes have colors; if there is one class, each instance has its own.
Writes OUT_DIR/<name of the COCO file>_001.jpg and so on.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import call, make_parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('ann_file', type=Path, help='the COCO file')
    parser.add_argument(
        '--img-dir',
        type=Path,
        help='what its file names are relative to (default: the nearest '
        'folder above the COCO file that has the first image); absolute '
        'names have to lie in it',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('vis'),
        help='folder to write (default: %(default)s)',
    )
    parser.add_argument(
        '--columns',
        type=int,
        default=4,
        help='images side by side (default: %(default)s)',
    )
    parser.add_argument(
        '--num',
        type=int,
        help='at most so many images, evenly spread over the file '
        '(default: all)',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw the sheets."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    sheets = call(
        parser, 'mmseg_ext.visualization.contact_sheets:draw_sheets', **options
    )
    for sheet in sheets:
        print(sheet)


if __name__ == '__main__':
    main()
