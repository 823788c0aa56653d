"""Make a page of an evaluation: where the errors are, and which.

Tests a checkpoint, and writes one HTML file that needs no network, with what
the test left in a run directory: scores with 95 % intervals, kinds of errors
by class, the confusion matrix, the most frequent confusions, the worst images
beside their labels, and labels that may be wrong. --from makes the page of a
run directory that is there already: of a test, or of a validation with the
hook EvaluationRecord, which lies in WORK_DIR/TIME/records.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import (
    add_cfg_options,
    call,
    constant,
    load,
    make_parser,
)

EXAMPLES = """\
examples:
  test a checkpoint, with how sure it is of each pixel
    %(prog)s CONFIG.py CHECKPOINT.pth --out report.html --probs
  what the last validation of a training left
    %(prog)s --from work_dirs/first/20260101_120000/records/val_iter_2000 \\
        --out report.html
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, EXAMPLES, anew=True)
    parser.add_argument(
        'config',
        nargs='?',
        help='config file, or the name of one of the configs of mmseg_ext',
    )
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--from',
        dest='run_dir',
        type=Path,
        metavar='RUN_DIR',
        help='a run directory, in place of CONFIG and CHECKPOINT',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE.html',
        help='the page to write',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=constant('mmseg_ext.report.frame:IMAGES'),
        metavar='NUM',
        help='show so many of the worst images, as far as the page stays '
        'below 6 MB (default: %(default)s)',
    )
    parser.add_argument(
        '--probs',
        action='store_true',
        help='also count how sure the model is, for calibration; takes a '
        'multiple of the time',
    )
    parser.add_argument(
        '--cluster',
        metavar='REGEX',
        help='what tells the sequence in the names of images, which are paths '
        'below the data root: its groups, or all that it matches, such as '
        "'.*/' for folders; images of one are drawn together for intervals "
        '(default: as the data set has it, else each image by itself)',
    )
    parser.add_argument(
        '--curves',
        type=Path,
        metavar='WORK_DIR',
        help='work dir of the training, to show its curves (default: that of '
        'the checkpoint, if it has any)',
    )
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='folder for logs and run directory of the test (default: '
        'work_dir of the config, else ./work_dirs/<name of the config>)',
    )
    add_cfg_options(parser, 'test_dataloader.dataset.data_root=/data/camvid')
    return parser


def write(cfg_options: list[str] | None, **options: object) -> object:
    """Write the page, with changes of the config as they were typed."""
    run = load('mmseg_ext.report.write:write_report')
    if options['run_dir'] is not None:
        options.pop('work_dir')
        return run(**options)
    pairs = load('mmseg_ext.launch.configs:parse_pairs')(cfg_options or ())
    return run(cfg_options=pairs, **options)


def main(argv: list[str] | None = None) -> None:
    """Write the page and say where it is."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.run_dir is None and (args.config is None or not args.checkpoint):
        parser.error('expected CONFIG and CHECKPOINT, or --from RUN_DIR')
    if args.run_dir is not None and (args.work_dir or args.cfg_options):
        parser.error(
            '--work-dir and --cfg-options are of a test; --from is one that '
            'was done'
        )
    written = call(parser, write, **vars(args))
    for note in written.notes:
        print(f'note: {note}')
    images = 'image' if written.images == 1 else 'images'
    print(f'{args.out}: a page of {written.images} {images}')
    if args.run_dir is None:
        print(f'run directory: {written.folder}')


if __name__ == '__main__':
    main()
