"""Segment image files: label maps and pictures of them.

Writes::

    OUT_DIR/labels/<image>.png     the class of each pixel, its index: 8 bits,
                                   16 for more than 255 classes
    OUT_DIR/pictures/<image>.png   image, labels and both over another, small,
                                   over a legend

Labels are those of a test with this config. Images of several folders give as
many folders. An image that cannot be read, or that the segmentor fails for, is
left out and listed at the end, with exit status 1.

--crop-size lets windows slide over images in their own size, with the memory
of the image, its labels and a row of windows: for large ones.
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
    spell,
    tell_left_out,
    tell_other_kinds,
)

EXAMPLES = """\
examples:
  a folder of photographs
    %(prog)s CONFIG.py CHECKPOINT.pth photographs/ --out-dir segmented
  a large image
    %(prog)s CONFIG.py CHECKPOINT.pth map.tif --out-dir segmented \\
        --crop-size 512 --stride 341
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, EXAMPLES)
    add_model_and_images(parser, 'MMSeg config file')
    parser.add_argument(
        '--out-dir',
        type=Path,
        required=True,
        help='folder to write: new, empty, or of the same command when it '
        'was stopped',
    )
    parser.add_argument(
        '--crop-size',
        nargs='+',
        type=int,
        metavar='PIXELS',
        help='height and width of windows, or one number for both, that slide '
        'over images in their own size: what the config resizes stays as it '
        'is (default: as the config says)',
    )
    parser.add_argument(
        '--stride',
        nargs='+',
        type=int,
        metavar='PIXELS',
        help='how far windows are apart (default: two thirds of --crop-size, '
        'else as the config says)',
    )
    parser.add_argument(
        '--window-batch',
        type=int,
        metavar='NUM',
        help='windows that the network takes at once (default: as the config '
        'says, else 1)',
    )
    parser.add_argument(
        '--no-pictures',
        dest='pictures',
        action='store_false',
        help='write label maps alone',
    )
    parser.add_argument(
        '--device',
        help='such as cpu or cuda:0 (default: a GPU if there is one)',
    )
    add_cfg_options(parser, 'model.test_cfg.mode=whole')
    return parser


def segment(cfg_options: list[str] | None, **options: Any) -> Any:
    """Segment, with changes of the config as they were typed."""
    pairs = load('mmseg_ext.launch.configs:parse_pairs')(cfg_options or ())
    run = load('mmseg_ext.inference.segment_files:segment_files')
    return run(cfg_options=pairs, on_note=note, **options)


def main(argv: list[str] | None = None) -> None:
    """Segment images."""
    parser = build_parser()
    args = parser.parse_args(argv)
    report = call(parser, segment, **vars(args))
    images = 'image' if report.images == 1 else 'images'
    pictures = ', pictures in pictures/' if args.pictures else ''
    print(
        f'{args.out_dir}: {report.images} {images}, label maps in labels/'
        f'{pictures}'
    )
    tell_other_kinds(report.others)
    if report.images and len(args.images) == 1 and args.images[0].is_dir():
        name = constant('mmseg_ext.inference.segment_files:LABELS')
        masks = args.out_dir / name
        print(f'next: {spell("browse", report.folder, "--masks", masks)}')
    tell_left_out(parser, report.unreadable, args.images)


if __name__ == '__main__':
    main()
