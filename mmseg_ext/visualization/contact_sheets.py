"""Contact sheets of a COCO file: its images with boxes and masks."""

import colorsys
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from mmseg_ext.formats.coco import (
    Annotation,
    CocoFile,
    CocoImage,
    Id,
    decode_coco,
    decode_mask,
)
from mmseg_ext.utils.files import path_inside, read_file, write_bytes
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.scratch import working_in
from mmseg_ext.visualization.fonts import draw_text, text_length

__all__ = ['draw_sheets']

#: The longer side of an image on a sheet, height of text and space between
#: images, in pixels.
_SIDE, _FONT, _MARGIN = 400, 11, 8

#: Rows of a sheet.
_ROWS = 3

_PAPER, _INK = (255, 255, 255), (0, 0, 0)

#: Share of a mask's color in what is seen.
_OPACITY = 0.45

#: Colors differ in hue by this part of the circle, the golden section: those
#: that follow one another are far apart, however many there are.
_HUE_STEP = 0.618034


def draw_sheets(
    ann_file: str | os.PathLike,
    out_dir: str | os.PathLike,
    img_dir: str | os.PathLike | None = None,
    columns: int = 4,
    num: int | None = None,
) -> list[Path]:
    """Draw the images of a COCO file, some on a sheet.

    The file may be any that pycocotools reads. Masks may be polygons,
    compressed or uncompressed RLE, or missing; so may boxes, which then are
    those of the masks. If the file has several categories, each has a color;
    otherwise each instance has one, so that neighbors can be told apart. A
    category that has no name is shown by its id.

    Args:
        ann_file: The COCO file.
        out_dir: Gets ``<name of ann_file>_001.jpg`` and so on.
        img_dir: What file names are relative to; by default the nearest
            folder above ``ann_file`` that has the first image. Absolute
            names have to lie in it, too.
        columns: Number of images side by side.
        num: At most so many images, evenly spread over the file; by default
            all.

    Returns:
        Paths of the sheets, in the order of the images.

    Raises:
        FileNotFoundError: The COCO file or an image is missing.
        ValueError: An argument is out of range, the COCO file is broken, or
            an image lies elsewhere, cannot be read or is not of the size in
            the COCO file.
    """
    for name, value in (('columns', columns), ('num', num)):
        if value is not None and value < 1:
            raise ValueError(f'{name}={value}: expected 1 or more')
    ann_file, out_dir = Path(ann_file), Path(out_dir)
    data = read_file(ann_file, most=None)
    coco = decode_coco(data, str(ann_file), CocoFile)
    img_dir = Path(img_dir) if img_dir else _find_images(ann_file, coco)
    colors = _Colors(coco)
    annotations = defaultdict(list)
    for annotation in coco.annotations:
        annotations[annotation.image_id].append(annotation)
    images = _spread(coco.images, num)
    sheets: list[Path] = []
    with working_in(out_dir), tqdm(total=len(images), unit=' images') as bar:
        for start in range(0, len(images), columns * _ROWS):
            tiles = []
            for image in images[start : start + columns * _ROWS]:
                pixels = _load(img_dir, image)
                name, found = image.file_name, annotations[image.id]
                try:
                    tiles.append(_tile(pixels, name, found, colors))
                except ValueError as error:
                    raise ValueError(
                        f'{ann_file}: image {image.file_name}: {error}'
                    ) from None
                bar.update()
            number = len(sheets) + 1
            path = out_dir / f'{ann_file.stem}_{number:03d}.jpg'
            write_bytes(path, _encode(_sheet(tiles, columns)))
            sheets.append(path)
    return sheets


def _find_images(ann_file: Path, coco: CocoFile) -> Path:
    """Return the nearest folder above the COCO file with its first image."""
    name = coco.images[0].file_name
    folders = list(ann_file.resolve().parents)
    if os.path.isabs(name):  # All files lie below the last, so that says none.
        del folders[-1]
    for folder in folders:
        with suppress(ValueError):
            if _place(folder, name).is_file():
                return folder
    raise FileNotFoundError(
        f'image {name} is in no folder above {ann_file}; say with img_dir '
        'where it is'
    )


def _spread(images: list[CocoImage], num: int | None) -> list[CocoImage]:
    """Return so many images, evenly spread."""
    if num is None or num >= len(images):
        return images
    return [images[index * len(images) // num] for index in range(num)]


def _place(img_dir: Path, name: str) -> Path:
    """Return the path of an image, which must lie in the folder."""
    if not os.path.isabs(name):
        return path_inside(img_dir, name)
    path = Path(os.path.normpath(name))
    if not path.is_relative_to(os.path.abspath(img_dir)):
        raise ValueError(
            f'image {name} does not lie in {img_dir}; say with img_dir in '
            'which folder it may be'
        )
    return path


class _Colors:
    """Colors of categories, or of instances where there is one category."""

    def __init__(self, coco: CocoFile) -> None:
        self.names: dict[Id | None, str] = {
            category.id: category.name for category in coco.categories
        }
        for annotation in coco.annotations:
            key = annotation.category_id
            self.names.setdefault(key, '' if key is None else str(key))
        self.numbers = {key: n for n, key in enumerate(self.names)}

    def of(self, index: int, annotation: Annotation) -> tuple[int, int, int]:
        """Return the RGB color of an instance, by its index in the image."""
        several = len(self.numbers) > 1
        number = self.numbers[annotation.category_id] if several else index
        # Hues that are near one another differ in brightness.
        value = (1.0, 0.7)[number // 8 % 2]
        rgb = colorsys.hsv_to_rgb(number * _HUE_STEP % 1, 0.9, value)
        red, green, blue = (round(255 * part) for part in rgb)
        return red, green, blue

    def label(self, annotation: Annotation) -> str:
        """Return the text at a box; a single name is not repeated."""
        several = len(self.numbers) > 1
        return self.names[annotation.category_id] if several else ''


def _load(img_dir: Path, image: CocoImage) -> np.ndarray:
    """Read an image as RGB, uint8 (H, W, 3)."""
    path = _place(img_dir, image.file_name)
    if not path.is_file():
        raise FileNotFoundError(
            f'image {path} is missing; say with img_dir where '
            f'{image.file_name} is'
        )
    pixels = decode_image(read_file(path), str(path))[..., ::-1]
    height, width = pixels.shape[:2]
    told = (
        width if image.width is None else image.width,
        height if image.height is None else image.height,
    )
    if (width, height) != told:
        raise ValueError(
            f'{path} has {width}x{height} pixels, the COCO file says '
            f'{told[0]:g}x{told[1]:g}'
        )
    return pixels


def _tile(
    pixels: np.ndarray,
    name: str,
    annotations: list[Annotation],
    colors: _Colors,
) -> Image.Image:
    """Draw an image with its instances, and its name below."""
    size = pixels.shape[:2]
    scale = _SIDE / max(size)
    height, width = (max(1, round(scale * side)) for side in size)
    canvas = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    boxes: list[Sequence[float]] = []
    for index, annotation in enumerate(annotations):
        mask = decode_mask(annotation.segmentation, size)
        boxes.append(annotation.bbox or ())
        if mask is not None:
            _blend(canvas, mask, colors.of(index, annotation))
            boxes[-1] = boxes[-1] or cv2.boundingRect(mask)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for index, (annotation, box) in enumerate(
        zip(annotations, boxes, strict=True)
    ):
        if not box:
            continue
        left, top, *extent = (scale * side for side in box)
        right, bottom = left + max(extent[0], 0), top + max(extent[1], 0)
        color = colors.of(index, annotation)
        draw.rectangle((left, top, right, bottom), None, color)
        label, corner = colors.label(annotation), (left + 2, top + 1)
        draw_text(draw, corner, label, color, _FONT, edge=_INK)
    tile = Image.new('RGB', (_SIDE, height + 2 * _FONT), _PAPER)
    tile.paste(picture)
    text = f'{name}: {len(annotations)}'
    # The end of a path tells more than its beginning.
    while text_length(text, _FONT) > _SIDE:
        text = '…' + text[2:]
    draw_text(ImageDraw.Draw(tile), (0, height + 2), text, _INK, _FONT)
    return tile


def _blend(
    canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]
) -> None:
    """Color a mask of any size on an image, uint8 (h, w, 3), in place."""
    size = canvas.shape[1::-1]
    shown = cv2.resize(
        mask * np.uint8(255), size, interpolation=cv2.INTER_AREA
    )
    share = _OPACITY / 255 * shown[..., None].astype(np.float32)
    canvas[:] = canvas + share * (np.array(color, np.float32) - canvas)
    edges, _ = cv2.findContours(
        (shown > 127).astype(np.uint8),
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_NONE,
    )
    cv2.drawContours(canvas, edges, -1, color, 1)


def _sheet(tiles: list[Image.Image], columns: int) -> Image.Image:
    """Return a sheet with the tiles in rows."""
    rows = [
        tiles[start : start + columns]
        for start in range(0, len(tiles), columns)
    ]
    heights = [max(tile.height for tile in row) + _MARGIN for row in rows]
    size = columns * (_SIDE + _MARGIN) + _MARGIN, sum(heights) + _MARGIN
    sheet = Image.new('RGB', size, _PAPER)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (_MARGIN + column * (_SIDE + _MARGIN), top))
        top += height
    return sheet


def _encode(sheet: Image.Image) -> bytes:
    """Return the content of a JPEG file."""
    pixels = np.asarray(sheet)[..., ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, 92]
    return cv2.imencode('.jpg', pixels, options)[1].tobytes()
