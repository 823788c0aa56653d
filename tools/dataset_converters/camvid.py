"""Write index masks for CamVid's color masks, once, before training.

Expects::

    DATA_ROOT/class_dict.csv                   (or the 32 classes are taken)
    DATA_ROOT/{train,val,test}_labels/X_L.png  RGB

and writes ``OUT_DIR/class_dict.csv`` and
``OUT_DIR/{train,val,test}_labels/X_L.png`` with 8-bit class indices, 255 where
nothing is labeled. Training needs no conversion: the ``CamVid`` data set reads
either.
"""

import argparse

from mmseg_ext_cli import (
    add_converter_options,
    call,
    constant,
    make_converter_parser,
)


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = make_converter_parser(
        __doc__, "CamVid's folder", 'DATA_ROOT/index, or DATA_ROOT/GROUPING'
    )
    parser.add_argument(
        '--grouping',
        choices=constant('mmseg_ext.labels.camvid:GROUPINGS'),
        help='merge the classes into those of the benchmark',
    )
    parser.add_argument(
        '--max-unknown',
        type=float,
        default=constant('mmseg_ext.formats.color_masks:MAX_UNKNOWN'),
        help='share of a mask, 0 to 1, that may have colors in no row of the '
        'class list before it is an error (default: %(default)s)',
    )
    add_converter_options(parser, 'overwrite')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    print(call(parser, 'mmseg_ext.converters.camvid:convert', **options))


if __name__ == '__main__':
    main()
