"""Weigh the classes of a training set: the rarer, the larger the weight.

Counts the pixels of each class in the labels of the training set of a config,
as a training reads them but for crops, and prints a table and a line for the
config: class_weight of BalancedCrossEntropy. The rules, with frequency(c) =
pixels of c / labeled pixels of the images that have c::

    median_frequency       median of all frequencies / frequency(c)
    sqrt_median_frequency  its square root, from 0.5 to 6

A class without a pixel has weight 1.
"""

import argparse
import sys

from mmseg_ext_cli import (
    add_cfg_options,
    call,
    constant,
    make_parser,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, anew=True)
    parser.add_argument(
        'config',
        help='MMSeg config file, or the name of one of the configs of '
        'mmseg_ext',
    )
    parser.add_argument(
        '--rule',
        choices=constant('mmseg_ext.utils.class_weights:RULES'),
        default='sqrt_median_frequency',
        help='default: %(default)s',
    )
    parser.add_argument(
        '--bounds',
        nargs=2,
        type=float,
        metavar=('LEAST', 'LARGEST'),
        help='bounds of the weights (default: those of the rule)',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        metavar='N',
        help='count no more than N images, spread over the data set '
        '(default: count all)',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='write the weights to this .json file as well; class_weight '
        'takes its path',
    )
    add_cfg_options(parser, 'train_dataloader.dataset.data_root=/data/camvid')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Print the weights."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    options['cfg_options'] = call(
        parser,
        'mmseg_ext.launch.configs:parse_pairs',
        options['cfg_options'] or (),
    )
    weighed = call(
        parser, 'mmseg_ext.launch.class_weights:weigh_classes', **options
    )
    print(*weighed.lines(), sep='\n')
    print(f'class_weight={weighed.weights}')
    for note in weighed.notes():
        print(f'note: {note}', file=sys.stderr)


if __name__ == '__main__':
    main()
