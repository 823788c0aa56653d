"""Test a checkpoint of a segmentor or detector."""

import argparse
from collections.abc import Sequence

from mmseg_ext_cli import constant, launch, make_launch_parser

EXAMPLES = """\
examples:
  scores of the config's own test evaluator
    %(prog)s CONFIG.py work_dirs/first/iter_20000.pth
  mean IoU and Dice of a segmentor, label maps as PNG files
    %(prog)s CONFIG.py CHECKPOINT.pth --eval mIoU mDice --out predictions/
  box and mask AP of a detector, pictures of the predictions
    %(prog)s CONFIG.py CHECKPOINT.pth --eval bbox segm --show-dir pictures/

A checkpoint is only loaded if it holds weights and mmengine's own records,
and only tested if it has all parameters of the model in the same shapes, but
for auxiliary heads.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_launch_parser(
        'Test a checkpoint with the model and test set of an MMSegmentation '
        'or MMDetection config.',
        EXAMPLES,
    )
    parser.add_argument('checkpoint', help='checkpoint file')
    segmentation = constant('mmseg_ext.evaluation.metrics.iou:IOU_METRICS')
    detection = constant('mmseg_ext.launch.evaluators:DETECTION_METRICS')
    parser.add_argument(
        '--eval',
        dest='metrics',
        nargs='+',
        choices=(*segmentation, *detection),
        default=(),
        metavar='METRIC',
        help=f'scores to compute: any of {", ".join(segmentation)} '
        f'with an MMSeg config, or of {", ".join(detection)} with an '
        'MMDet config. Sets the test evaluator (IoU or CocoMetric), keeps '
        "what the config's own one says besides, and logs what was set "
        "(default: the config's own evaluator)",
    )
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='write the predictions: with an MMSeg config to a folder, as '
        'PNG files of class indices in the subfolders of their images; with '
        'an MMDet config to a .pkl file',
    )
    parser.add_argument(
        '--show',
        action='store_true',
        help='show each prediction in a window (needs a display)',
    )
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write pictures of the predictions: with an MMDet config to '
        'DIR, with an MMSeg config to DIR/vis_data/vis_image',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2.0,
        metavar='SECONDS',
        help='how long --show leaves each window open (default: %(default)s)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation by tta_model and tta_pipeline of the '
        'config; MMDet configs without them get horizontal flips',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Test as the command line says and return the scores."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    return launch(parser, 'mmseg_ext.launch.runs:run_test', **options)


if __name__ == '__main__':
    main()
