"""Write label maps and splits for photographs labeled with labelme.

Expects JSON files, at any depth, and the photographs that they name::

    DATA_ROOT/a/x.json  DATA_ROOT/a/x.jpg
    DATA_ROOT/labels.txt    the labels in the order of their indices (default:
                            _background_ and all labels that occur, sorted)

and writes::

    OUT_DIR/images/a/x.jpg
    OUT_DIR/labels/a/x.png           8-bit class indices, 255 for __ignore__
    OUT_DIR/class_dict.csv           the classes and their colors
    OUT_DIR/splits/{train,val}.txt   stems, shuffled

Images are hard links where the file system allows, else copies. A run that was
stopped is continued by starting it again.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import (
    add_converter_options,
    call,
    look_at_masks,
    make_converter_parser,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_converter_parser(
        __doc__, 'folder of photographs with JSON files', 'DATA_ROOT/index'
    )
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='FILE',
        help='list of labels, one a line (default: DATA_ROOT/labels.txt, if '
        'there is one)',
    )
    parser.add_argument(
        '--copy', action='store_true', help='copy photographs, never link them'
    )
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='share of the images for validation (default: %(default)s)',
    )
    add_converter_options(parser, 'seed', 'overwrite')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    report = call(parser, 'mmseg_ext.converters.labelme:convert', **options)
    print(report)
    print(look_at_masks(report.out_dir / 'labels', report.out_dir / 'images'))


if __name__ == '__main__':
    main()
