"""Write COCO files of the instances of Cityscapes.

Expects leftImg8bit_trainvaltest and gtFine_trainvaltest, unpacked in one
folder::

    DATA_ROOT/leftImg8bit/{train,val,test}/<city>/X_leftImg8bit.png
    DATA_ROOT/gtFine/{train,val,test}/<city>/X_gtFine_instanceIds.png

and writes, where MMDetection's configs look for them::

    OUT_DIR/instancesonly_filtered_gtFine_{train,val,test}.json

with the eight classes of the instance benchmark. The test split may be
missing, or have no gtFine: its JSON then lists the images only.
"""

import argparse

from mmseg_ext_cli import (
    add_converter_options,
    call,
    constant,
    look_at,
    make_converter_parser,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_converter_parser(
        __doc__,
        'folder with leftImg8bit and gtFine',
        'DATA_ROOT/annotations',
    )
    add_converter_options(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    report = call(parser, 'mmseg_ext.converters.cityscapes:convert', **options)
    print(report)
    split = next(iter(report.splits))
    file = constant('mmseg_ext.converters.cityscapes:_FILE').format(split)
    images = options['data_root'] / 'leftImg8bit' / split
    print(look_at(report.out_dir / file, images))


if __name__ == '__main__':
    main()
