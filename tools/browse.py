"""Draw the images of a data set with their labels, some on a sheet.

For looking at labels before training. SOURCE is one of

  a COCO file, .json    boxes and masks; polygons or RLE, compressed or not;
                        masks, boxes and classes may be missing
  a config              path or name, of MMSeg or MMDet: the labels of its
                        data set as that reads them, before augmentation
  a folder of images    with --masks, the folder of its masks: of indices, or
                        of colors that a class list names

What is wrong or odd comes first, with the reason under it: images and labels
that are missing, broken or of different sizes, values that are no class, boxes
that leave the image, nothing labeled, unusual sizes, tiny boxes, rare classes.
The first sheet has a legend with the counts of all classes. Squares of two
grays are pixels to ignore, red and white ones are values and colors that are
no class. Writes OUT_DIR/<name of the data>_001.jpg and so on, and prints their
names. If no image can be shown with a label, an error says why.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmseg_ext_cli import (
    add_cfg_options,
    call,
    constant,
    load,
    make_parser,
    note,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = make_parser(__doc__, anew=True)
    parser.add_argument(
        'source', metavar='SOURCE', help='COCO file, config or folder'
    )
    parser.add_argument(
        '--masks', type=Path, metavar='DIR', help='folder of the masks'
    )
    parser.add_argument(
        '--class-dict',
        type=Path,
        metavar='FILE',
        help='classes of the masks: a class_dict.csv with names and colors, '
        'or a .txt file with one name a line (default: one beside the '
        'folders, if there is any)',
    )
    parser.add_argument(
        '--split',
        choices=constant('mmseg_ext.launch.data_sets:SPLITS'),
        help='data set of the config (default: train)',
    )
    add_cfg_options(parser, 'train_dataloader.dataset.data_root=/data/camvid')
    parser.add_argument(
        '--img-dir',
        type=Path,
        metavar='DIR',
        help='what the file names of a COCO file are relative to (default: '
        'the nearest folder above or beside it that has the images); '
        'absolute names have to lie in it',
    )
    parser.add_argument(
        '--out-dir',
        type=Path,
        metavar='DIR',
        default=Path('vis'),
        help='folder to write (default: %(default)s)',
    )
    parser.add_argument(
        '--columns',
        type=int,
        default=4,
        help='images side by side, at most 100 (default: %(default)s)',
    )
    parser.add_argument(
        '--num',
        type=int,
        help='at most so many images: the worst, or with --order name '
        'evenly spread over all (default: all)',
    )
    parser.add_argument(
        '--order',
        choices=constant('mmseg_ext.visualization.contact_sheets:ORDERS'),
        default='worst',
        help='default: %(default)s',
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw the sheets."""
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    source = options['source']
    folder = Path(source).is_dir()
    coco = not folder and source.lower().endswith('.json')
    given = {name for name, value in options.items() if value is not None}
    for kind, names, wanted in (
        ('a COCO file', ('img_dir',), coco),
        ('a config', ('split', 'cfg_options'), not coco and not folder),
        ('a folder', ('masks', 'class_dict'), folder),
    ):
        for name in given.intersection(() if wanted else names):
            flag = '--' + name.replace('_', '-')
            parser.error(f'{flag} goes with {kind}, and {source} is none')
    if folder and options['masks'] is None:
        parser.error(
            f'{source} is a folder: expected --masks, the folder of its masks'
        )
    draw = draw_folder if folder else draw_coco if coco else draw_config
    sheets = call(parser, checked, draw, **options)
    for sheet in sheets:
        print(sheet)
    out_dir, stem = options['out_dir'], sheets[0].stem.rpartition('_')[0]
    found = load('mmseg_ext.visualization.contact_sheets:sheets_of')
    if old := sorted(set(found(out_dir, stem)) - set(sheets)):
        names = load('mmseg_ext.utils.text:listing')([p.name for p in old])
        note(f'sheets of an earlier run are in {out_dir}, too: {names}')


def checked(
    draw: Callable[..., list[Path]], /, out_dir: Path, **options: Any
) -> list[Path]:
    """Draw sheets, if they can be written."""
    check = load('mmseg_ext.launch.configs:check_output')
    check('out_dir', str(out_dir))
    return draw(out_dir=out_dir, **options)


def draw_coco(
    source: str, img_dir: Path | None, out_dir: Path, **options: Any
) -> list[Path]:
    """Draw a COCO file; return the sheets."""
    draw = load('mmseg_ext.visualization.coco_sheets:draw_coco_file')
    return draw(source, out_dir, img_dir, how(**options), note)


def draw_folder(
    source: str,
    masks: Path,
    class_dict: Path | None,
    out_dir: Path,
    **options: Any,
) -> list[Path]:
    """Draw a folder of images and one of masks; return the sheets."""
    labeled = load('mmseg_ext.formats.mask_folders:read_folders')(
        source, masks, class_dict
    )
    for line in labeled.notes:
        note(line)
    draw = load('mmseg_ext.visualization.mask_sheets:draw_mask_sheets')
    return draw(labeled, out_dir, how(**options))


def draw_config(
    source: str,
    split: str | None,
    cfg_options: list[str] | None,
    out_dir: Path,
    **options: Any,
) -> list[Path]:
    """Draw a data set of a config; return the sheets."""
    pairs = load('mmseg_ext.launch.configs:parse_pairs')(cfg_options or ())
    labeled = load('mmseg_ext.launch.data_sets:labels_of_config')(
        source, split or 'train', pairs, note
    )
    if hasattr(labeled, 'coco'):
        draw = load('mmseg_ext.visualization.coco_sheets:draw_coco_sheets')
        data = labeled.coco, labeled.paths, labeled.name
        return draw(*data, out_dir, how(**options), note)
    draw = load('mmseg_ext.visualization.mask_sheets:draw_mask_sheets')
    return draw(labeled, out_dir, how(**options))


def how(columns: int, num: int | None, order: str, **_: Any) -> Any:
    """Return how sheets are drawn."""
    options = load('mmseg_ext.visualization.contact_sheets:SheetOptions')
    return options(columns, num, order)


if __name__ == '__main__':
    main()
