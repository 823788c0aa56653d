"""Contact sheets of COCO files: their images with boxes and masks."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from mmseg_ext.formats.coco import (
    Annotation,
    Category,
    CocoFile,
    CocoImage,
    Id,
    decode_coco,
    decode_mask,
)
from mmseg_ext.formats.image_facts import (
    Finding,
    ImageFacts,
    Kind,
    coco_facts,
    find_odd,
    look_through,
)
from mmseg_ext.utils.files import path_inside, read_file, visible_entries
from mmseg_ext.utils.images import decode_image
from mmseg_ext.utils.text import listing, printable
from mmseg_ext.visualization.contact_sheets import (
    Legend,
    SheetOptions,
    Tile,
    check_out_dir,
    choose,
    distinct_color,
    draw_label,
    images_text,
    load_failed,
    shrink,
    size_text,
    write_sheets,
)

__all__ = [
    'CategoryStyle',
    'draw_coco_file',
    'draw_coco_sheets',
    'draw_instances',
]

#: Share of a mask's color in what is seen.
_OPACITY = 0.45

#: Stands for an image that cannot be read; such an image is as wide and high
#: as 4 by 3.
_GRAY, _SHAPE = 128, (300, 400, 3)

#: Colors in the square of a legend where each instance has its own.
_SHOWN = 4

#: Names of folders of images, as data sets have them beside their labels.
_USUAL = ('images', 'imgs', 'img', 'JPEGImages')

#: So many folders are looked into for images, and named where there are none.
_MOST_FOLDERS, _NAMED = 500, 8


def draw_coco_file(
    ann_file: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    img_dir: str | os.PathLike[str] | None = None,
    options: SheetOptions | None = None,
    on_note: Callable[[str], None] | None = None,
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
            folder above ``ann_file`` that has the first image, else one
            beside it: ``images``, ``img``, ``JPEGImages``, one that is named
            as a part of ``ann_file``, or any other. Absolute names have to
            lie in it, too.
        options: Which images, and in which order; by default all, the worst
            first.
        on_note: Called with what a reader has to know, a line each.

    Returns:
        Paths of the sheets, in the order of the images.

    Raises:
        FileNotFoundError: The COCO file is missing, or so are all images.
        ValueError: An option is out of range, the COCO file is broken, an
            image lies elsewhere, or none can be read.
    """
    options = options or SheetOptions()
    options.check()
    ann_file = Path(ann_file)
    data = read_file(ann_file, most=None)
    coco = decode_coco(data, str(ann_file), CocoFile)
    folder = Path(img_dir) if img_dir else _find_images(ann_file, coco)
    if on_note and not img_dir and folder not in ann_file.resolve().parents:
        on_note(f'images: {folder}')
    paths = [_place(folder, image.file_name) for image in coco.images]
    if not any(path.is_file() for path in paths):
        raise FileNotFoundError(
            f'image {paths[0]} is missing, and so are all that {ann_file} '
            'lists; say with img_dir where they are'
        )
    return draw_coco_sheets(
        coco, paths, ann_file.stem, out_dir, options, on_note
    )


def draw_coco_sheets(
    coco: CocoFile,
    paths: Sequence[Path],
    name: str,
    out_dir: str | os.PathLike[str],
    options: SheetOptions | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw images with instances, some on a sheet.

    Under each image are its size and its instances, and what is wrong or odd:
    see :class:`~mmseg_ext.formats.image_facts.Kind`. An image that is missing
    or broken is a gray one. The first sheet begins with a legend: instances
    of each class, and images that have one.

    Args:
        coco: Images, instances and classes.
        paths: The files of the images.
        name: What the names of the sheets begin with.
        out_dir: Gets ``<name>_001.jpg`` and so on.
        options: Which images, and in which order; by default all, the worst
            first.
        on_note: Called with what a reader has to know, a line each.

    Returns:
        Paths of the sheets, in the order of the images.

    Raises:
        ValueError: An option is out of range, no image can be read, or one
            of them lies in ``out_dir`` with the name of a sheet.
    """
    options = options or SheetOptions()
    options.check()
    out_dir = Path(out_dir)
    check_out_dir(out_dir, name, paths)
    annotations = defaultdict(list)
    for annotation in coco.annotations:
        annotations[annotation.image_id].append(annotation)
    left = set(annotations) - {image.id for image in coco.images}
    if left and on_note:
        on_note(
            f'{sum(len(annotations[key]) for key in left)} annotation(s) are '
            f'of images that are not listed: {listing(sorted(map(str, left)))}'
        )
    if on_note:
        for line in _repeated(coco.categories):
            on_note(line)
    # As pycocotools has it, of images with one id.
    owners = {image.id: k for k, image in enumerate(coco.images)}
    count = Counter(image.id for image in coco.images)
    instances = [
        annotations.get(image.id, []) if owners[image.id] == k else []
        for k, image in enumerate(coco.images)
    ]
    classes = CategoryStyle(coco)
    listed = [category.id for category in coco.categories]

    def look(index: int) -> ImageFacts:
        image = coco.images[index]
        facts = coco_facts(paths[index], image, instances[index], listed)
        if count[image.id] == 1:
            return facts
        found = [f for f in facts.findings if f.kind != Kind.EMPTY]
        text = (
            f'{count[image.id]} images have the id {image.id}: its instances '
            'are drawn on the last of them'
        )
        found.append(Finding(Kind.BROKEN, text))
        return facts._replace(findings=tuple(found))

    facts = look_through(look, range(len(coco.images)), options.progress)
    if fault := load_failed(facts, name):
        raise ValueError(fault)
    odd = find_odd(facts, classes.names)
    names = [image.file_name for image in coco.images]
    jobs = [
        partial(
            _tile,
            path=paths[k],
            image=coco.images[k],
            facts=facts[k],
            findings=odd[k],
            annotations=instances[k],
            classes=classes,
        )
        for k in choose(names, facts, odd, options)
    ]
    legend = classes.legend(name, facts)
    return write_sheets(out_dir, name, jobs, options, legend)


def _repeated(categories: Sequence[Category]) -> Iterator[str]:
    """Yield a line for each id and each name that several categories have."""
    for what, other in (('id', 'name'), ('name', 'id')):
        groups = defaultdict(list)
        for each in categories:
            groups[getattr(each, what)].append(str(getattr(each, other)))
        for key, others in groups.items():
            if len(others) > 1:
                yield (
                    f'{len(others)} categories have the {what} {key}, with '
                    f'the {other}s {listing(others)}'
                    + ', of which the last is shown'
                    * (what == 'id')
                )


def _find_images(ann_file: Path, coco: CocoFile) -> Path:
    """Return the folder of the images of a COCO file.

    Some of its images are looked for, since the first may be missing.
    """
    images = coco.images
    some = [images[k].file_name for k in (0, len(images) // 2, -1)]
    names = list(dict.fromkeys(some))
    folders = list(ann_file.resolve().parents)
    if os.path.isabs(names[0]):  # All lie below the last: that says none.
        del folders[-1]
    else:
        folders += islice(_beside(ann_file.resolve()), _MOST_FOLDERS)
    for enough in (all, any):
        for folder in folders:
            if enough(_has(folder, name) for name in names):
                return folder
    raise FileNotFoundError(
        f'image {names[0]} is in none of the {len(folders)} folders above and '
        f'beside {ann_file}: {listing(folders, _NAMED)}; say with img_dir '
        'where it is'
    )


def _has(folder: Path, name: str) -> bool:
    with suppress(ValueError, OSError):
        return _place(folder, name).is_file()
    return False


def _beside(ann_file: Path) -> Iterator[Path]:
    """Yield folders in and beside that of a file, those near it first."""
    inner = list(_folders(ann_file.parent, ann_file.stem))
    yield from inner
    outer = list(_folders(ann_file.parent.parent, ann_file.stem))
    yield from outer
    for folder in inner + outer:
        yield from _folders(folder, ann_file.stem)


def _folders(folder: Path, stem: str) -> list[Path]:
    """Return the folders in a folder, the likely ones first."""
    with suppress(OSError):
        found = [
            Path(entry.path)
            for entry in visible_entries(folder)
            if entry.is_dir()
        ]
        return sorted(
            found,
            key=lambda path: (
                path.name not in stem,
                path.name not in _USUAL,
                path,
            ),
        )
    return []


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


class CategoryStyle:
    """Categories, and their colors, or those of instances if there is one.

    Args:
        coco: Categories and all instances.
    """

    def __init__(self, coco: CocoFile) -> None:
        self.names: dict[Id | None, str] = {
            category.id: category.name for category in coco.categories
        }
        self.listed = set(self.names)
        for annotation in coco.annotations:
            key = annotation.category_id
            name = 'no class' if key is None else f'class {key}'
            self.names.setdefault(key, name)
        self.numbers = {key: n for n, key in enumerate(self.names)}
        self.several = len(self.names) > 1

    def color(
        self, index: int, annotation: Annotation
    ) -> tuple[int, int, int]:
        """Return the RGB color of an instance.

        Args:
            index: Its number in the image.
            annotation: It.
        """
        number = self.numbers[annotation.category_id]
        return distinct_color(number if self.several else index)

    def label(self, annotation: Annotation) -> str:
        """Return the text at a box; a single name is not repeated.

        Args:
            annotation: The instance.
        """
        key = annotation.category_id
        if not self.several or key is None:
            return ''
        return printable(self.names[key] if key in self.listed else str(key))

    def counts(self, counts: Counter[Id | None]) -> list[str]:
        """Return the number of instances of each class, in words.

        Args:
            counts: Instances by the id of the category.
        """
        return [
            f'{printable(self.names[key])}: {count}'
            for key, count in counts.most_common()
        ]

    def legend(self, name: str, facts: Sequence[ImageFacts]) -> Legend:
        """Return the legend, with what all images have of each class.

        Args:
            name: Of the set.
            facts: What is known of each image.
        """
        instances: Counter[Id | None] = Counter()
        images: Counter[Id | None] = Counter()
        for fact in facts:
            instances.update(fact.counts)
            images.update(fact.counts.keys())
        squares = [[distinct_color(k)] for k in self.numbers.values()]
        if not self.several:
            squares = [[distinct_color(k) for k in range(_SHOWN)]]
        entries = [
            (
                np.array([square], np.uint8),
                f'{printable(self.names[key])}  {instances[key]} in '
                f'{images[key]}'
                if images[key]
                else f'{printable(self.names[key])}  absent',
            )
            for square, key in zip(squares, self.names, strict=False)
        ]
        return Legend(
            f'{printable(name)}: {images_text(len(facts))}. Of each class its '
            'instances, and the number of images that they are in',
            entries,
        )


def _tile(
    path: Path,
    image: CocoImage,
    facts: ImageFacts,
    findings: Sequence[Finding],
    annotations: Sequence[Annotation],
    classes: CategoryStyle,
) -> Tile:
    """Draw an image with its instances."""
    texts = [finding.text for finding in findings]
    kinds = {finding.kind for finding in findings}
    pixels = np.full(_SHAPE, _GRAY, np.uint8)
    drawn: Sequence[Annotation] = ()
    try:
        pixels = decode_image(read_file(path), path.name)[..., ::-1]
        # Where the sizes differ, boxes and masks are of another image.
        if Kind.OTHER_SIZE not in kinds:
            drawn = annotations
    except (OSError, ValueError) as error:
        # That a file is cut off may be seen when it is decoded.
        if Kind.UNREADABLE not in kinds:
            texts.insert(0, str(error))
    return Tile(
        draw_instances(pixels, drawn, classes),
        printable(image.file_name),
        ', '.join([size_text(facts), *classes.counts(Counter(facts.counts))]),
        '; '.join(texts),
    )


def draw_instances(
    pixels: np.ndarray,
    annotations: Sequence[Annotation],
    classes: CategoryStyle,
) -> Image.Image:
    """Draw boxes and masks on an image; masks that are broken are left out.

    Args:
        pixels: uint8 RGB, (H, W, 3).
        annotations: Its instances.
        classes: Their colors.

    Returns:
        As large as a tile of a sheet.
    """
    canvas, scale = shrink(pixels)
    boxes: list[Sequence[float]] = []
    for index, annotation in enumerate(annotations):
        boxes.append(annotation.bbox or ())
        # Those that are broken are told of below the image.
        with suppress(ValueError):
            mask = decode_mask(annotation.segmentation, pixels.shape[:2])
            if mask is not None:
                _blend(canvas, mask, classes.color(index, annotation))
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
        color = classes.color(index, annotation)
        draw.rectangle((left, top, right, bottom), None, color)
        if label := classes.label(annotation):
            draw_label(picture, (left, top), label, color)
    return picture


def _blend(
    canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int]
) -> None:
    """Color a mask of any size on an image, uint8 (h, w, 3), in place."""
    size = canvas.shape[1::-1]
    shown = cv2.resize(
        mask * np.uint8(255), size, interpolation=cv2.INTER_AREA
    )
    left, top, width, height = cv2.boundingRect(shown)
    place = slice(top, top + height), slice(left, left + width)
    share = _OPACITY / 255 * shown[place][..., None].astype(np.float32)
    part = canvas[place]
    part[:] = part + share * (np.array(color, np.float32) - part)
    edges, _ = cv2.findContours(
        (shown > 127).astype(np.uint8),
        cv2.RETR_CCOMP,
        cv2.CHAIN_APPROX_NONE,
    )
    cv2.drawContours(canvas, edges, -1, color, 1)
