"""Pictures of image, label and prediction during validation and test."""

import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine import fileio
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from PIL import Image, ImageDraw, ImageFont

from mmseg_ext.utils.files import write_bytes
from mmseg_ext.utils.images import decode_image, write_png

#: Index of the pixels that belong to no class, in the maps that are written.
NO_CLASS = 255

#: Length in pixels of a panel's longer tile side. Smaller images are enlarged
#: and larger ones reduced, so that text and picture keep their proportion.
TILE_SIDE = (320, 800)

#: Height of a panel's text in pixels: at least this, and grown with the panel
#: so that a row of tiles is about so many times as long.
MIN_FONT = 15
ROW_EMS = 90

INK = (32, 32, 32)
FAINT_INK = (112, 112, 112)
FRAME = (160, 160, 160)
PAPER = (255, 255, 255)


@HOOKS.register_module()
class SegVisHook(Hook):
    """Write image, label and prediction of the first validation batches.

    Each sample gets a folder of its own below the runner's log folder::

        seg_vis/val_iter_000500/00003_<name of the image>/
            image.png       the image as it was before resizing and cropping
            label.png       only where the data set gives labels
            prediction.png
            panel.png       all of them side by side, with a legend

    The leading number is the position of the sample in the data set for
    MMSeg's usual samplers, over all processes. A test writes to
    ``seg_vis/test``. Where an iteration is validated again, ``_2`` and so on
    is added.

    ``label.png`` and ``prediction.png`` are indexed PNG files: a viewer, or
    OpenCV, shows the colors of the data set's palette, and Pillow reads the
    class indices, with 255 for pixels of no class. In pictures those pixels
    are black, or white or a gray where a class is black.

    The panel also goes to the backends of the runner's visualizer, such as
    TensorBoard, under a name that stays the same from one validation to the
    next. With several processes only the first one sends its panels there.

    Nothing happens in training, nor after the first batches. Works with every
    model that predicts ``pred_sem_seg`` at the size of the original image, as
    all of MMSeg do.

    Args:
        vis_num: Number of batches to write at each validation or test, 0 or
            above.
        backend_args: How mmengine reads images that are not local files.

    Raises:
        ValueError: ``vis_num`` is not an integer of 0 or above.
    """

    def __init__(
        self, vis_num: int = 1, backend_args: dict | None = None
    ) -> None:
        if type(vis_num) is not int or vis_num < 0:
            raise ValueError(
                'vis_num must be a number of batches, an integer of 0 or '
                f'above, got {vis_num!r}'
            )
        self.vis_num = vis_num
        self.backend_args = backend_args
        self._stages = Counter()
        self._trains = False

    def before_run(self, runner: Runner) -> None:
        """Fix the folder that everything goes to."""
        self._root = Path(runner.log_dir, 'seg_vis')

    def before_train(self, runner: Runner) -> None:
        """Note that there are iterations to count."""
        self._trains = True

    def _iteration(self, runner: Runner) -> int:
        """Number of training iterations so far.

        Where nothing is trained, ``runner.iter`` would build the training
        data set, which need not be there.
        """
        return runner.iter if self._trains else 0

    def before_val(self, runner: Runner) -> None:
        """Choose the folder of this validation."""
        iteration = self._iteration(runner)
        self._begin(
            'val', f'val_iter_{iteration:06d}', runner.val_dataloader.dataset
        )

    def before_test(self, runner: Runner) -> None:
        """Choose the folder of this test."""
        self._begin('test', 'test', runner.test_dataloader.dataset)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
        mode: str = 'train',
    ) -> None:
        """Write the samples of a batch, if it is one of the first.

        mmengine calls it after each iteration of every mode.
        """
        if mode != 'train' and batch_idx < self.vis_num:
            self._write_batch(runner, outputs)

    def _begin(self, mode: str, stage: str, dataset: object) -> None:
        """Start a validation or test.

        Args:
            mode: ``'val'`` or ``'test'``.
            stage: Name of its folder.
            dataset: Its data set, for classes and palette.
        """
        if self.vis_num == 0:
            return
        self._stages[stage] += 1
        if self._stages[stage] > 1:
            stage = f'{stage}_{self._stages[stage]}'
        self._mode = mode
        self._folder = self._root / stage
        self._style = read_style(dataset)
        self._seen = 0

    def _write_batch(
        self, runner: Runner, outputs: Sequence[SegDataSample]
    ) -> None:
        for sample in outputs:
            number = self._seen * get_world_size() + get_rank()
            self._seen += 1
            path = sample.metainfo.get('img_path')
            if path is None:
                raise ValueError(
                    'SegVisHook reads the image from img_path, which the '
                    "sample lacks: add it to PackSegInputs' meta_keys"
                )
            stem = re.sub(r'[^\w.-]', '_', Path(path).stem)
            name = f'{number:05d}_{stem}'
            panel = self._write_sample(sample, path, self._folder / name)
            runner.visualizer.add_image(
                f'seg_vis_{self._mode}_{name}',
                panel,
                step=self._iteration(runner),
            )

    def _write_sample(
        self, sample: SegDataSample, path: str, folder: Path
    ) -> np.ndarray:
        """Write the files of one sample and return its panel, RGB."""
        image = self._read_image(path)
        maps = {}
        if 'gt_sem_seg' in sample:
            maps['label'] = sample.gt_sem_seg
        maps['prediction'] = sample.pred_sem_seg
        count = len(self._style.names)
        maps = {key: class_map(value, count) for key, value in maps.items()}
        for key, indices in maps.items():
            if indices.shape != image.shape[:2]:
                raise ValueError(
                    f'{path}: the {key} is {_size(indices)} and the image '
                    f'{_size(image)}; SegVisHook needs both at the original '
                    'size, so load labels after Resize in the pipeline'
                )
        panel = draw_panel(Path(path).name, image, maps, self._style)
        write_png(folder / 'image.png', image[..., ::-1])
        for key, indices in maps.items():
            write_indexed_png(folder / f'{key}.png', indices, self._style)
        write_png(folder / 'panel.png', panel[..., ::-1])
        return panel

    def _read_image(self, path: str) -> np.ndarray:
        """Read the original image, RGB."""
        data = fileio.get(path, self.backend_args)
        image = decode_image(data, path)
        return np.ascontiguousarray(image[..., ::-1])


class Style(NamedTuple):
    """How classes are shown.

    Attributes:
        names: Class names.
        colors: uint8 (256, 3), the RGB color of every index.
    """

    names: Sequence[str]
    colors: np.ndarray


def read_style(dataset: object) -> Style:
    """Take classes and palette from the metainfo of a data set.

    Raises:
        ValueError: They are missing, do not match, are too many for labels
            of 8 bits, or a color is none.
    """
    metainfo = getattr(dataset, 'metainfo', {})
    names, palette = (
        () if metainfo.get(key) is None else metainfo[key]
        for key in ('classes', 'palette')
    )
    if not 1 <= len(names) <= NO_CLASS or len(names) != len(palette):
        raise ValueError(
            f'SegVisHook needs 1 to {NO_CLASS} classes and a palette of as '
            f'many colors in the metainfo of {type(dataset).__name__}, got '
            f'{len(names)} and {len(palette)}'
        )
    for name, color in zip(names, palette, strict=True):
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise ValueError(
                f'palette of {type(dataset).__name__}: expected three values '
                f'of 0 to 255 for {name}, got {color}'
            )
    used = {tuple(color) for color in palette}
    grays = ((value,) * 3 for value in (0, 255, *range(1, 255)))
    colors = np.empty((256, 3), np.uint8)
    colors[:] = next(gray for gray in grays if gray not in used)
    colors[: len(names)] = palette
    return Style(names, colors)


def class_map(data: PixelData, num_classes: int) -> np.ndarray:
    """Get class indices from MMSeg's structure.

    Args:
        data: Its ``data`` is (1, H, W) or (H, W).
        num_classes: Values from here on become ``NO_CLASS``.

    Returns:
        uint8, (H, W).
    """
    values = data.data.long().cpu().numpy()
    values = values.reshape(values.shape[-2:])
    known = (values >= 0) & (values < num_classes)
    return np.where(known, values, NO_CLASS).astype(np.uint8)


def write_indexed_png(path: Path, indices: np.ndarray, style: Style) -> None:
    """Write class indices, uint8 (H, W), as a PNG with a palette."""
    image = Image.fromarray(indices)
    image.putpalette(style.colors.tobytes())
    buffer = BytesIO()
    image.save(buffer, 'PNG')
    write_bytes(path, buffer.getvalue())


def draw_panel(
    title: str, image: np.ndarray, maps: dict[str, np.ndarray], style: Style
) -> np.ndarray:
    """Draw an image and its maps side by side, over a legend.

    Args:
        title: Text at the top.
        image: uint8 RGB, (H, W, 3).
        maps: uint8 class indices, (H, W), by their captions.
        style: Names and colors of the classes.

    Returns:
        uint8 RGB.
    """
    tiles = {'image': fit_tile(image, cv2.INTER_AREA)}
    for caption, indices in maps.items():
        tiles[caption] = style.colors[fit_tile(indices, cv2.INTER_NEAREST)]
    height, width = tiles['image'].shape[:2]

    em = max(MIN_FONT, len(tiles) * width // ROW_EMS)
    font = ImageFont.load_default(em)
    line = 3 * em // 2
    present = np.unique(np.concatenate([m.ravel() for m in maps.values()]))
    entries = [
        'ignored' if index == NO_CLASS else style.names[index]
        for index in present
    ]
    # Each entry is a square of one em, half an em, the name, and a gap.
    lengths = [font.getlength(entry) + 3 * em for entry in entries]
    row = max(len(tiles) * (width + em) - em, font.getlength(title), *lengths)
    places, lines = flow(lengths, row)

    top = em + 2 * line
    legend = top + height + em
    canvas = Image.new(
        'RGB', (round(row) + 2 * em, legend + lines * line + em // 2), PAPER
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((em, em), title, INK, font)
    for number, (caption, tile) in enumerate(tiles.items()):
        x = em + number * (width + em)
        draw.text((x, em + line), caption, FAINT_INK, font)
        canvas.paste(Image.fromarray(tile), (x, top))
        draw.rectangle((x - 1, top - 1, x + width, top + height), None, FRAME)
    for index, entry, (x, number) in zip(
        present, entries, places, strict=True
    ):
        x, y = em + x, legend + number * line
        color = tuple(style.colors[index].tolist())
        draw.rectangle((x, y, x + em, y + em), color, FRAME)
        draw.text((x + 3 * em / 2, y + em / 2), entry, INK, font, 'lm')
    return np.asarray(canvas)


def fit_tile(array: np.ndarray, reduction: int) -> np.ndarray:
    """Resize so that the longer side lies within ``TILE_SIDE``.

    Args:
        array: uint8, (H, W) or (H, W, 3).
        reduction: OpenCV's interpolation for making it smaller. It is
            enlarged by repeating pixels.

    Returns:
        uint8, the same number of channels.
    """
    height, width = array.shape[:2]
    longer = max(height, width)
    scale = np.clip(longer, *TILE_SIDE) / longer
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    method = reduction if scale < 1 else cv2.INTER_NEAREST
    return cv2.resize(array, size, interpolation=method)


def flow(
    lengths: Sequence[float], width: float
) -> tuple[list[tuple[float, int]], int]:
    """Set entries in lines, as words of a text.

    Args:
        lengths: Length of each entry, at most ``width``.
        width: Length of a line.

    Returns:
        The offset and the line of each entry, and the number of lines.
    """
    places = []
    x, line = 0.0, 0
    for length in lengths:
        if x + length > width:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += length
    return places, line + 1


def _size(array: np.ndarray) -> str:
    return f'{array.shape[1]}x{array.shape[0]}'
