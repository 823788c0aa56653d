"""Make a folder to train on from one or both parts of IDD.

Expects, in each DATA_ROOT (the folders IDD_Segmentation and idd20kII)::

    leftImg8bit/{train,val,test}/<sequence>/<id>_leftImg8bit.{png,jpg}
    gtFine/{train,val}/<sequence>/<id>_gtFine_polygons.json
    gtFine/{train,val}/<sequence>/<id>_gtFine_labellevel3Ids.png  (if made)

and writes::

    OUT_DIR/{train,val}_img/<sequence>_<id>.{png,jpg}
    OUT_DIR/{train,val}_label/<sequence>_<id>.png  8-bit level-3 ids, 0 to 25,
                                                   255 where there is no class
    OUT_DIR/splits/{train,val}.txt                 stems, shuffled
    OUT_DIR/report.json                            counts, and what was skipped

Images are hard links where the file system allows, else copies. A run that was
stopped is continued by starting it again.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_ext_cli import call, make_parser

if TYPE_CHECKING:
    from mmseg_ext.converters.idd import Report


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        'data_roots',
        type=Path,
        nargs='+',
        metavar='DATA_ROOT',
        help='folder of an unpacked part',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('data/idd20kII'),
        help='folder to write (default: %(default)s)',
    )
    parser.add_argument(
        '--nproc', type=int, default=1, help='number of processes'
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='gives the order of the splits (default: %(default)s)',
    )
    parser.add_argument(
        '--copy', action='store_true', help='copy files, never link them'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='draw also labels that lie beside their polygons, and compare',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='write again what is there already',
    )
    parser.add_argument(
        '--skip-invalid',
        action='store_true',
        help='leave out invalid files and list them in OUT_DIR/report.json, '
        'instead of stopping at the first',
    )
    return parser


def print_report(report: 'Report', out_dir: Path) -> None:
    """Say what there is and what was left out."""
    from prettytable import PrettyTable

    from mmseg_ext.converters.idd import PIXEL_NAMES

    table = PrettyTable(['pixels', *report.splits], align='r')
    table.align['pixels'] = 'l'
    for name in PIXEL_NAMES:
        counts = (split.pixels[name] for split in report.splits.values())
        table.add_row([name, *(f'{count:,}' for count in counts)])
    print(table)
    for skip in report.skipped:
        print(f'skipped {skip.file}: {skip.reason}')
    for name, split in report.splits.items():
        print(
            f'{name}: {split.images} images; {split.labels_drawn} labels '
            f'drawn and {split.labels_found} found; {split.objects} objects, '
            f'left out {split.deleted} deleted and {split.too_few_points} of '
            'fewer than three points'
        )
    print(
        f'{out_dir}: {report.written} images written, {report.kept} were '
        f'there already, {len(report.skipped)} invalid files skipped, '
        f'{report.test_images} test images left out: they have no labels'
    )


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    args = parser.parse_args(argv)
    report = call(parser, 'mmseg_ext.converters.idd:convert', **vars(args))
    print_report(report, args.out_dir)


if __name__ == '__main__':
    main()
