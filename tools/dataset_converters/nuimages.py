"""Write label maps and COCO instances for nuImages.

Expects the tables of the metadata archive; the photographs need not be there::

    DATA_ROOT/v1.0-{mini,train,val,test}/*.json

and writes::

    OUT_DIR/semantic_masks/samples/<CAM>/X.png   8-bit class indices, 0 to 24,
                                                 255 where nothing is labeled
    OUT_DIR/nuimages_<version>.json              COCO, ten thing classes
    OUT_DIR/nuimages_v1.0-val2400.json           2,400 images of v1.0-val
    OUT_DIR/nuimages_<version>.tables.json       what the masks were made from

v1.0-test has no annotations: its JSON lists the images and there are no masks.
A run that was stopped is continued by starting it again.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import (
    add_converter_options,
    call,
    constant,
    look_at,
    make_parser,
)

_DATA_ROOT = Path('data/nuimages')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    versions = constant('mmseg_ext.converters.nuimages:VERSIONS')
    parser.add_argument(
        'data_root',
        type=Path,
        nargs='?',
        metavar='DATA_ROOT',
        help=f"nuImages' folder (default: {_DATA_ROOT})",
    )
    parser.add_argument(
        '--data-root',
        dest='named_root',
        type=Path,
        metavar='DATA_ROOT',
        help='the same, as tutorials write it',
    )
    parser.add_argument(
        '--out-dir', type=Path, help='default: DATA_ROOT/annotations'
    )
    parser.add_argument(
        '--versions',
        '--version',
        nargs='+',
        choices=versions,
        metavar='VERSION',
        help=f'of {", ".join(versions)} (default: those in DATA_ROOT)',
    )
    add_converter_options(parser, 'overwrite')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    roots = options.pop('data_root'), options.pop('named_root')
    if all(roots):
        parser.error('DATA_ROOT and --data-root: give one of them')
    options['data_root'] = roots[0] or roots[1] or _DATA_ROOT
    report = call(parser, 'mmseg_ext.converters.nuimages:convert', **options)
    print(report)
    file = f'nuimages_{next(iter(report.versions))}.json'
    print(look_at(report.out_dir / file, options['data_root']))


if __name__ == '__main__':
    main()
