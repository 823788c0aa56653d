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
from pathlib import Path

from mmseg_ext_cli import call, constant, make_parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('data_root', type=Path, help="CamVid's folder")
    parser.add_argument(
        '--out-dir',
        type=Path,
        help='default: DATA_ROOT/index, or DATA_ROOT/GROUPING',
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
    parser.add_argument(
        '--nproc', type=int, default=1, help='number of processes'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='write masks again that are there already',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    args = parser.parse_args(argv)
    out_dir = args.out_dir or args.data_root / (args.grouping or 'index')
    report = call(
        parser,
        'mmseg_ext.converters.camvid:convert',
        args.data_root,
        out_dir,
        grouping=args.grouping,
        max_unknown=args.max_unknown,
        nproc=args.nproc,
        overwrite=args.overwrite,
    )
    for warning in report.warnings:
        print(f'warning: {warning}')
    print(
        f'{out_dir}: {report.written} index masks written, {report.kept} were '
        f'there already, {len(report.warnings)} with unknown colors'
    )


if __name__ == '__main__':
    main()
