"""Say whether one run is better than another on the same images.

Reads two run directories, which mmseg-ext report and EvaluationRecord write,
and writes a page: the difference in mIoU (or AP) and that of each class with
95 % intervals, the probability that B is better, stars for what stands after
Holm's correction, kinds of errors before and after, and the images that were
won and lost most.

Intervals come from drawing whole sequences, as images of one drive resemble
one another. Names of CamVid, Cityscapes, IDD and nuImages tell their
sequences; --cluster says how other names do. The exit status is 2 where the
runs are not of the same images, labels or classes.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import call, constant, make_parser, note


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument('run_a', type=Path, help='run directory of A')
    parser.add_argument('run_b', type=Path, help='run directory of B')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE.html',
        default=Path('compare.html'),
        help='the page to write (default: %(default)s)',
    )
    parser.add_argument(
        '--cluster',
        metavar='REGEX',
        help='what tells the sequence in the names of images, which are paths '
        'below the data root: its groups, or all that it matches, such as '
        "'.*/' for folders "
        '(default: as the data set has it, else each image by itself)',
    )
    parser.add_argument(
        '--bootstrap',
        type=int,
        metavar='N',
        default=constant('mmseg_ext.report.bootstrap:RESAMPLES'),
        help='number of resamples, 100 or more (default: %(default)s)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of the draws (default: %(default)s)',
    )
    parser.add_argument(
        '--exclude',
        nargs='+',
        default=(),
        metavar='CLASS',
        help='classes that the mean leaves out',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Compare, write the page, and print what it says first."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    verdict, notes = call(
        parser,
        'mmseg_ext.report.compare_page:compare_runs_to_page',
        **options,
    )
    for line in notes:
        note(line)
    print(verdict)
    print(options['out'])


if __name__ == '__main__':
    main()
