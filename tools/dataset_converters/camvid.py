"""Write index masks for color masks, such as CamVid's, before training.

Expects::

    DATA_ROOT/class_dict.csv        name,r,g,b (default: CamVid's 32 classes)
    DATA_ROOT/<split>_labels/X.png  in colors of the list, or indices of its
                                    rows

and writes::

    OUT_DIR/class_dict.csv
    OUT_DIR/<split>_labels/X.png    8-bit class indices, 255 where nothing is
                                    labeled

Training needs no conversion: the data sets CamVid and ColorMaskDataset read
either. A run that was stopped is continued by starting it again.
"""

import argparse

from mmseg_ext_cli import (
    add_converter_options,
    call,
    constant,
    look_at_masks,
    make_converter_parser,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_converter_parser(
        __doc__,
        'folder of the masks',
        'DATA_ROOT/index, or DATA_ROOT/GROUPING',
    )
    parser.add_argument(
        '--grouping',
        choices=constant('mmseg_ext.labels.camvid:GROUPINGS'),
        help='merge the classes into those of the benchmark',
    )
    parser.add_argument(
        '--masks',
        choices=('index', 'color'),
        help='what all masks hold (default: decided for each by its values)',
    )
    parser.add_argument(
        '--transparent',
        metavar='CLASS',
        help="class of transparent pixels, or 'ignore' (default: they are an "
        'error)',
    )
    parser.add_argument(
        '--max-unknown',
        type=float,
        default=constant('mmseg_ext.formats.color_masks:MAX_UNKNOWN'),
        help='share of a mask, 0 to 1, that may have colors in no row of the '
        'class list before it is an error (default: %(default)s; none may '
        'where there is no class_dict.csv)',
    )
    add_converter_options(parser, 'overwrite')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    report = call(parser, 'mmseg_ext.converters.camvid:convert', **options)
    print(report)
    for masks in sorted(report.out_dir.glob('*_labels'))[:1]:
        images = options['data_root'] / masks.name.removesuffix('_labels')
        print(look_at_masks(masks, images))


if __name__ == '__main__':
    main()
