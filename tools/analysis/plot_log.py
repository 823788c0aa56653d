"""Draw what a training or test logged into its work dir.

Our train and test do so at the end of each run; this draws the same again,
also of a run that was killed. Reads::

    WORK_DIR/TIME/vis_data/scalars.json   of the newest training, and of those
                                          that it was resumed from
    WORK_DIR/TIME/TIME.json               of tests
    WORK_DIR/TIME/vis_data/confusion.json of the last validation or test

and writes into OUT_DIR::

    curves.png      losses, mIoU (or mAP of an MMDet config) and learning
                    rate over time
    class_iou.png   IoU per class: a bar chart,
    class_iou.md    the rounded table,
    class_iou.csv   and the exact one
    confusion.png   which part of each class is taken for which,
    confusion.md    the ten worst confusions in words,
    confusion.csv   and as a table

From 40 logged losses on there is a smoothed line over them; the legend says
over how many points. IoU per class and confusions are those of the newest
validation or test with the metric IoU; a class that is neither labeled nor
predicted is "absent", in class_iou.csv "nan". What a killed run left
half-written is left out, and said. Names in the CSV files that a spreadsheet
would run as a formula have an apostrophe in front.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import call, make_parser


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, anew=True)
    parser.add_argument(
        'work_dir', type=Path, help='the --work-dir of the training or test'
    )
    parser.add_argument('--out-dir', type=Path, help='default: WORK_DIR/plots')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw the log."""
    parser = build_parser()
    args = parser.parse_args(argv)
    report = call(
        parser,
        'mmseg_ext.visualization.curves:plot_work_dir',
        args.work_dir,
        args.out_dir or args.work_dir / 'plots',
    )
    for note in report.notes:
        print(f'note: {note}')
    for path in report.files:
        print(path)


if __name__ == '__main__':
    main()
