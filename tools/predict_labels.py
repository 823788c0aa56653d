"""Predict labels of images as annotations that people mend in their tool.

Writes what labelme, CVAT or any reader of COCO opens, or label maps, and the
images beside it. CONFIG may be that of a segmentor of MMSeg or of a detector
of MMDet with masks.

uncertainty.csv lists the images, the least certain first: those that teach a
model most once they are mended. With --uncertain N these N are written alone.
COCO files and CVAT's list have the images in that order; labelme, and CVAT by
default, show them by name, for which there is --numbered.

labelme and COCO have outlines of connected parts of 16 pixels or more; CVAT's
masks and label maps have each pixel. When they are mended,

  mmseg-ext init OUT_DIR --out again.py

makes a config of them.

An image that cannot be read, or that the model fails for, is left out and
listed at the end, with exit status 1.
"""

import argparse
from pathlib import Path
from typing import Any

from mmseg_ext_cli import (
    add_cfg_options,
    add_model_and_images,
    call,
    constant,
    load,
    make_parser,
    note,
    tell_left_out,
    tell_other_kinds,
)

EXAMPLES = """\
examples:
  the 50 photographs that a segmentor knows least, for labelme
    %(prog)s CONFIG.py CHECKPOINT.pth photographs/ --to labelme \\
        --out-dir to_mend --uncertain 50 --numbered
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, EXAMPLES, anew=True)
    add_model_and_images(parser, 'config file')
    parser.add_argument(
        '--to',
        choices=constant('mmseg_ext.inference.predict_labels:TARGETS'),
        default='coco',
        help='COCO file, labelme JSON, "Segmentation mask 1.1" of CVAT, or '
        'label maps as PNG (default: %(default)s)',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        required=True,
        help='folder to write: new or empty',
    )
    parser.add_argument(
        '--score',
        type=float,
        default=0.5,
        help='leave out instances of a detector that score less (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--uncertain',
        type=int,
        metavar='N',
        help='write the N least certain images alone (default: all)',
    )
    parser.add_argument(
        '--numbered',
        action='store_true',
        help='begin the names of images with their place in the order, as '
        '001_NAME',
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:0 (default: a GPU if there is one)',
    )
    add_cfg_options(parser, 'model.test_cfg.mode=whole')
    return parser


def predict(cfg_options: list[str] | None, **options: Any) -> Any:
    """Predict, with changes of the config as they were typed."""
    pairs = load('mmseg_ext.launch.configs:parse_pairs')(cfg_options or ())
    run = load('mmseg_ext.inference.predict_labels:predict_labels')
    return run(cfg_options=pairs, on_note=note, **options)


def main(argv: list[str] | None = None) -> None:
    """Predict labels."""
    parser = build_parser()
    args = parser.parse_args(argv)
    report = call(parser, predict, **vars(args))
    images = 'image' if report.images == 1 else 'images'
    others = 'other is' if report.certain == 1 else 'others are'
    certain = f', {report.certain} {others} more certain'
    print(
        f'{args.out_dir}: labels of {report.images} {images}'
        f'{certain if report.certain else ""}; uncertainty.csv lists them'
    )
    tell_other_kinds(report.others)
    tell_left_out(parser, report.unreadable, args.images)


if __name__ == '__main__':
    main()
