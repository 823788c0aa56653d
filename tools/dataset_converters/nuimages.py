"""Write label maps and COCO instances for nuImages.

Expects the tables of the metadata archive; the photographs need not be there::

    DATA_ROOT/v1.0-{mini,train,val,test}/*.json

and writes::

    OUT_DIR/semantic_masks/samples/<CAM>/X.png   8-bit class indices, 0 to 24,
                                                 255 where nothing is labeled
    OUT_DIR/nuimages_<version>.json              COCO, ten thing classes
    OUT_DIR/nuimages_v1.0-val2400.json           2,400 images of v1.0-val

v1.0-test has no annotations: its JSON lists the images and there are no masks.
A run that was stopped is continued by starting it again.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_ext_cli import call, constant, make_parser

if TYPE_CHECKING:
    from mmseg_ext.converters.nuimages import Report


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    versions = constant('mmseg_ext.converters.nuimages:VERSIONS')
    parser = make_parser(__doc__)
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data/nuimages'),
        help="nuImages' folder (default: %(default)s)",
    )
    parser.add_argument(
        '--versions',
        '--version',
        nargs='+',
        choices=versions,
        metavar='VERSION',
        help=f'of {", ".join(versions)} (default: those in DATA_ROOT)',
    )
    parser.add_argument(
        '--out-dir', type=Path, help='default: DATA_ROOT/annotations'
    )
    parser.add_argument(
        '--nproc', type=int, default=1, help='number of processes'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='remove the masks that are there and start anew',
    )
    parser.add_argument(
        '--skip-invalid',
        action='store_true',
        help='leave out images with invalid rows and list them in '
        'OUT_DIR/skipped.json, instead of stopping at the first',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    args = parser.parse_args(argv)
    out_dir = args.out_dir or args.data_root / 'annotations'
    versions = args.versions or call(
        parser, 'mmseg_ext.converters.nuimages:find_versions', args.data_root
    )
    reports = call(
        parser,
        'mmseg_ext.converters.nuimages:convert',
        args.data_root,
        versions,
        out_dir,
        nproc=args.nproc,
        overwrite=args.overwrite,
        skip_invalid=args.skip_invalid,
    )
    for version, report in reports.items():
        print(
            f'{out_dir}: {version}: {report.images} images, '
            f'{report.annotations} instances; {report.written} masks written, '
            f'{report.kept} were there already'
            + skipped(report, out_dir / 'skipped.json')
        )


def skipped(report: 'Report', path: Path) -> str:
    """Say what was left out, the first by name."""
    rows = report.skipped
    if not rows:
        return ''
    names = [str(row.image or f'{row.table} {row.token}') for row in rows[:3]]
    more = f' and {len(rows) - 3} more' * (len(rows) > 3)
    return f'; left out: {", ".join(names)}{more}, see {path}'


if __name__ == '__main__':
    main()
