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
    OUT_DIR/report.json                            counts, what was skipped,
                                                   and what filled the polygons

Images are hard links where the file system allows, else copies. A run that was
stopped is continued by starting it again.
"""

import argparse
from pathlib import Path

from mmseg_ext_cli import add_converter_options, call, make_parser, spell

#: Trains on a GPU that is not large.
CONFIG = 'deeplabv3plus_r18-d8_1xb4-80k_idd-512x512.py'

#: Trains on a CPU, with less than so many images.
SMALL_CONFIG = 'fpn_lite0_1xb4-600_idd-sample-192x256.py'
SMALL = 1000


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
        '--copy', action='store_true', help='copy files, never link them'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='draw also labels that lie beside their polygons, and compare; '
        'pixels at edges, which depend on the release of Pillow, are counted',
    )
    add_converter_options(parser, 'seed', 'overwrite')
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the converter."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    report = call(parser, 'mmseg_ext.converters.idd:convert', **options)
    print(report)
    small = report.splits['train'].images < SMALL
    config = SMALL_CONFIG if small else CONFIG
    root = f'data_root={report.out_dir}'
    print(f'next: {spell("train", config, "--cfg-options", root)}')


if __name__ == '__main__':
    main()
