"""Write COCO instances for photographs of nails and their masks.

Expects one of::

    DATA_ROOT/Images/{1,2,3,4}/X.png    DATA_ROOT/Masks/{1,2,3,4}/X.png
    DATA_ROOT/{train,valid}/images/X.png    DATA_ROOT/{train,valid}/masks/X.png
    DATA_ROOT/images/X.jpg    DATA_ROOT/labels/X.jpg

in any case, at any depth, with the suffixes of BMP, JPEG, PNG, PNM, TIFF and
WebP, and writes::

    OUT_DIR/{train,valid}.json                 COCO, one class, nail
    OUT_DIR/csv_file/{train,valid}_info.csv    images, masks, width, height

A folder test beside train and valid, or beside images and masks, gives
test.json and test_info.csv as well. Without masks it is passed over.

A nail is an 8-connected component of what is brighter than 127 in its mask, or
of what is opaque. Touching nails are told apart by color; those of one color
are cut by --split-touching. In masks of ids each value is a nail: see --ids.
"""

import argparse

from mmseg_ext_cli import (
    add_converter_options,
    call,
    constant,
    look_at,
    make_converter_parser,
    name_flags,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_converter_parser(
        __doc__, 'folder of images and masks', 'DATA_ROOT/annotations'
    )
    parser.add_argument(
        '--segmentation',
        choices=constant('mmseg_ext.converters.nails:SEGMENTATIONS'),
        default='rle',
        help='form of the masks: rle, exact; polygon, along the edges of '
        'pixels, exact for pycocotools and MMDetection; contour, through '
        "their centers, exact for OpenCV's fillPoly (default: %(default)s)",
    )
    parser.add_argument(
        '--ids',
        choices=constant('mmseg_ext.converters.nail_ids:IDS'),
        default='auto',
        help='yes: each value of a mask is one nail, 0 the background; no: '
        'values are as bright as they look; auto: as each mask says, and an '
        'error where it does not (default: %(default)s)',
    )
    parser.add_argument(
        '--min-area',
        type=int,
        default=20,
        help='leave out components and ids of fewer pixels '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--split-touching',
        action='store_true',
        help='cut nails apart that touch in one color, where they narrow',
    )
    share = constant('mmseg_ext.converters.nails:VAL_FRACTION')
    parser.add_argument(
        '--val-fraction',
        type=float,
        help='share of each folder for validation, if no folders train and '
        f'valid say it (default: {share})',
    )
    parser.add_argument(
        '--folds',
        type=int,
        help='for cross-validation: divide into so many equal parts instead, '
        'of which one is for validation and the others are for training; '
        'only pairs outside of folders train, valid and test are divided',
    )
    parser.add_argument(
        '--fold',
        type=int,
        default=0,
        help='which part that is, from 0 to FOLDS - 1 (default: %(default)s)',
    )
    add_converter_options(parser, 'seed')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    report = call(parser, 'mmseg_ext.converters.nails:convert', **options)
    print(name_flags(str(report), parser, options.values()))
    print(look_at(report.out_dir / 'train.json', options['data_root']))


if __name__ == '__main__':
    main()
