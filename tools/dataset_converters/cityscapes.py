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
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_ext_cli import call, make_parser

if TYPE_CHECKING:
    from mmseg_ext.converters.cityscapes import Report


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'data_root',
        type=Path,
        metavar='DATA_ROOT',
        help='folder with leftImg8bit and gtFine',
    )
    parser.add_argument(
        '--out-dir', type=Path, help='default: DATA_ROOT/annotations'
    )
    parser.add_argument(
        '--nproc', type=int, default=1, help='number of processes'
    )
    parser.add_argument(
        '--skip-invalid',
        action='store_true',
        help='leave out invalid files and list them, instead of stopping at '
        'the first',
    )
    return parser


def print_report(report: 'Report', out_dir: Path) -> None:
    """Say what there is and what was left out."""
    from prettytable import PrettyTable

    from mmseg_ext.labels.cityscapes import CITYSCAPES_INSTANCES

    table = PrettyTable(['instances', *report.splits], align='r')
    table.align['instances'] = 'l'
    for name in CITYSCAPES_INSTANCES.values():
        counts = (split.instances[name] for split in report.splits.values())
        table.add_row([name, *(f'{count:,}' for count in counts)])
    print(table)
    for skip in report.skipped:
        print(f'skipped {skip.file}: {skip.reason}')
    for name, split in report.splits.items():
        print(
            f'{name}: {split.images} images, {split.instances.total()} '
            f'instances, {split.crowds.total()} crowd regions'
        )
    print(f'{out_dir}: {len(report.skipped)} invalid files skipped')


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    args = parser.parse_args(argv)
    out_dir = args.out_dir or args.data_root / 'annotations'
    report = call(
        parser,
        'mmseg_ext.converters.cityscapes:convert',
        args.data_root,
        out_dir,
        nproc=args.nproc,
        skip_invalid=args.skip_invalid,
    )
    print_report(report, out_dir)


if __name__ == '__main__':
    main()
