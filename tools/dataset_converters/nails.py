"""Write COCO instances for photographs of nails and their masks.

Expects one of::

    DATA_ROOT/Images/{1,2,3,4}/X.png    DATA_ROOT/Masks/{1,2,3,4}/X.png
    DATA_ROOT/{train,valid}/images/X.png    DATA_ROOT/{train,valid}/masks/X.png
    DATA_ROOT/images/X.jpg    DATA_ROOT/labels/X.jpg

in any case, at any depth, with any suffixes, and writes::

    OUT_DIR/{train,valid}.json                 COCO, one class, nail
    OUT_DIR/csv_file/{train,valid}_info.csv    images, masks, width, height

A nail is an 8-connected component of what is brighter than 127 in its mask.
Touching nails are told apart by color; where they have one, --split-touching
cuts them.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_ext_cli import call, constant, make_parser

if TYPE_CHECKING:
    from mmseg_ext.converters.nails import Report


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'data_root', type=Path, help='folder of images and masks'
    )
    parser.add_argument(
        '--out-dir', type=Path, help='default: DATA_ROOT/annotations'
    )
    parser.add_argument(
        '--segmentation',
        choices=constant('mmseg_ext.converters.nails:SEGMENTATIONS'),
        default='rle',
        help='form of the masks (default: %(default)s)',
    )
    parser.add_argument(
        '--min-area',
        type=int,
        default=20,
        help='leave out components of fewer pixels (default: %(default)s)',
    )
    parser.add_argument(
        '--split-touching',
        action='store_true',
        help='cut nails apart that touch in one color, where they narrow',
    )
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='share of each folder for validation, if no folders train and '
        'valid say it (default: %(default)s)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='another seed chooses other images for validation '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--nproc', type=int, default=1, help='number of processes'
    )
    parser.add_argument(
        '--skip-invalid',
        action='store_true',
        help='leave out invalid files and list them in OUT_DIR/skipped.json, '
        'instead of stopping at the first',
    )
    return parser


def print_report(report: 'Report', out_dir: Path) -> None:
    """Say what there is and what was left out."""
    if report.stray:
        print(
            f'warning: {report.stray} image files lie below no folder images, '
            'masks or labels'
        )
    for split, images in report.images.items():
        print(
            f'{out_dir / split}.json: {images} images, '
            f'{report.instances[split]} nails'
        )
    print(
        f'{report.colored} masks tell nails apart by color, {report.cut} '
        f'blobs cut, {report.dropped} components left out as too small'
    )
    for skip in report.skipped:
        print(f'skipped {skip.file}: {skip.reason}')
    if report.skipped:
        print(
            f'{len(report.skipped)} invalid files skipped, see '
            f'{out_dir / "skipped.json"}'
        )


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    args = vars(parser.parse_args(argv))
    out_dir = args.pop('out_dir') or args['data_root'] / 'annotations'
    report = call(
        parser, 'mmseg_ext.converters.nails:convert', out_dir=out_dir, **args
    )
    print_report(report, out_dir)


if __name__ == '__main__':
    main()
