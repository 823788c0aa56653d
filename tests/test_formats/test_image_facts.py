import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from mmseg_ext.formats.coco import Annotation, CocoImage, MaskCode
from mmseg_ext.formats.image_facts import (
    Finding,
    ImageFacts,
    Kind,
    LabeledImage,
    coco_facts,
    find_odd,
    label_facts,
    read_size,
    worst_first,
)

NAMES = ('road', 'car', 'pole')


def write_image(folder, width=8, height=6):
    path = folder / 'image.png'
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    return path


def facts_of(folder, label, names=NAMES, warning=None):
    image = LabeledImage(
        'image', write_image(folder), lambda: (label, warning), None
    )
    return label_facts(image, names, (255,))


def test_pixels_are_counted(tmp_path):
    label = np.zeros((6, 8), np.uint8)
    label[:2] = 2
    label[5] = 255
    expected = ImageFacts((8, 6), {0: 24, 2: 16}, 8)
    assert facts_of(tmp_path, label) == expected
    assert facts_of(tmp_path, label.astype(np.int64)) == expected


@pytest.mark.parametrize(
    ('label', 'kind', 'text'),
    [
        (np.eye(8)[:6, :7], Kind.OTHER_SIZE, 'image 8x6, label 7x6'),
        (
            np.eye(6, 8) * 7,
            Kind.NO_CLASS,
            '12.5% with values that are no class: 7',
        ),
        (
            -np.eye(6, 8),
            Kind.NO_CLASS,
            '12.5% with values that are no class: -1',
        ),
        (np.full((6, 8), 255), Kind.IGNORED, 'every pixel is ignored'),
        (np.ones((6, 8)), Kind.EMPTY, 'nothing but car'),
        (
            np.eye(6, 8) * 255,
            Kind.EMPTY,
            'nothing but road, the rest is ignored',
        ),
        (
            np.zeros((6, 8, 3)),
            Kind.UNREADABLE,
            'a label of shape (6, 8, 3): expected one channel, of class '
            'indices',
        ),
    ],
)
def test_what_is_wrong_with_a_label(tmp_path, label, kind, text):
    found = facts_of(tmp_path, label.astype(np.int64)).findings
    assert found == (Finding(kind, text),)


def test_any_value_may_be_a_class(tmp_path):
    label = np.eye(6, 8, dtype=np.uint8) * 77
    found = facts_of(tmp_path, label, None)
    assert found == ImageFacts((8, 6), {0: 42, 77: 6})


def test_rows_of_pixels(tmp_path):
    """MMSeg's loader takes away an axis of length 1."""
    path = write_image(tmp_path, 8, 1)
    label = np.arange(8) % 2
    image = LabeledImage('row', path, lambda: (label, None))
    expected = ImageFacts((8, 1), {0: 4, 1: 4})
    assert label_facts(image, NAMES, (255,)) == expected


def test_files_that_are_missing_or_broken(tmp_path):
    def missing():
        raise FileNotFoundError('/label.png')

    image = LabeledImage('a', tmp_path / 'none.png', missing)
    texts = [f.text for f in label_facts(image, NAMES, ()).findings]
    assert texts == ['the image is missing', 'the label is missing']
    (tmp_path / 'none.png').write_bytes(b'x' * 9)
    [broken, _] = label_facts(image, NAMES, ()).findings
    assert broken.kind == Kind.UNREADABLE
    assert broken.text.startswith('none.png cannot be read as an image (9')


def test_sizes_are_those_that_loaders_see(tmp_path):
    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new('RGB', (80, 60)).save(path, exif=exif)
    assert read_size(path) == cv2.imread(str(path)).shape[1::-1] == (60, 80)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(noise).save(path)
    assert read_size(path) == (80, 60)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r'turned\.jpg cannot be read'):
        read_size(path)


def annotation(bbox, category_id=1, segmentation=None):
    return Annotation(0, category_id, bbox, segmentation)


@pytest.mark.parametrize(
    ('annotations', 'expected'),
    [
        ([annotation([1, 1, 6, 5])], []),
        ([annotation([-0.9, -0.9, 9, 7])], []),
        ([], [(Kind.EMPTY, 'no instances')]),
        (
            [annotation([-2, 0, 5, 5]), annotation([0, 0, 8, 8])],
            [(Kind.BROKEN, '2 boxes out of the image')],
        ),
        (
            [annotation([1, 1, 0, 3])],
            [(Kind.BROKEN, '1 box without area')],
        ),
        (
            [annotation([1, 1, 3, 5])],
            [(Kind.TINY, '1 box with a side below 4 pixels')],
        ),
        (
            [annotation([1, 1, 5, 5], 9)],
            [(Kind.NO_CLASS, 'no category has the id 9')],
        ),
        (
            [annotation([1, 1, 5, 5], 1, [[1, 2]])],
            [
                (
                    Kind.BROKEN,
                    'a polygon of 2 numbers; expected x and y of at least '
                    'three points',
                )
            ],
        ),
    ],
)
def test_what_is_wrong_with_instances(tmp_path, annotations, expected):
    path = write_image(tmp_path)
    image = CocoImage('image.png', 0, 8, 6)
    facts = coco_facts(path, image, annotations, [1, 2])
    assert list(facts.findings) == expected
    assert sum(facts.counts.values()) == len(annotations)


SQUARE = [[1, 1, 6, 1, 6, 5, 1, 5]]


@pytest.mark.parametrize(
    ('rows', 'kind', 'text'),
    [
        ([([1, 1, 5, 4], SQUARE)], None, ''),
        ([([0, 0, 8, 6], MaskCode((6, 8), [0, 48]))], None, ''),
        (
            [([0, 0, 4, 6], MaskCode((6, 8), [36, 2, 10]))],
            Kind.BROKEN,
            '1 box apart from the own mask',
        ),
        # The last pixel of a column, and the first of the next.
        ([([0, 0, 4, 4], MaskCode((6, 8), [23, 2, 23]))], None, ''),
        (
            [([1, 1, 5, 4], MaskCode((6, 8), [48]))],
            Kind.BROKEN,
            '1 mask without a pixel in the image',
        ),
        (
            [
                (None, [[9, 1, 20, 1, 20, 5]]),
                (None, [[-4, -4, -4, 9, 0, 0]]),
                (None, MaskCode((6, 8), [20, 0, 28])),
            ],
            Kind.BROKEN,
            '3 masks without a pixel in the image',
        ),
        (
            [(None, None), ([], [])],
            Kind.BROKEN,
            '2 instances with neither box nor mask',
        ),
        (
            [([1, 1, 5, 4], SQUARE), ([1, 1, 5, 4], SQUARE)],
            Kind.BROKEN,
            '1 instance the same as another',
        ),
        ([([1, 1, 5, 4], SQUARE), ([1, 1, 5, 4], None)], None, ''),
    ],
)
def test_what_is_wrong_with_masks(tmp_path, rows, kind, text):
    path = write_image(tmp_path)
    image = CocoImage('image.png', 0, 8, 6)
    annotations = [annotation(box, 1, mask) for box, mask in rows]
    found = coco_facts(path, image, annotations, [1]).findings
    assert found == ((Finding(kind, text),) if text else ())


def test_instances_without_class(tmp_path):
    """They are wrong where there are classes."""
    path = write_image(tmp_path)
    image = CocoImage('image.png', 0, 8, 6)
    given = [annotation([1, 1, 6, 5], key) for key in (None, 1)]
    assert coco_facts(path, image, given, []).findings == ()
    [found] = coco_facts(path, image, given, [1]).findings
    assert found == (Kind.NO_CLASS, '1 instance without category_id')


def test_masks_of_0_and_255_have_a_mend():
    """Where all images have no class but 0."""
    empty = Finding(Kind.EMPTY, 'nothing but car')
    white = ImageFacts((8, 6), {0: 9}, 5, (empty,))
    black = ImageFacts((8, 6), {0: 14}, 0, (empty,))
    mend = '; if 255 is a class here, save the masks with 1 in its place'
    expected = [((Kind.EMPTY, empty.text + mend),), (empty,)]
    assert find_odd([white, black], {}) == expected
    others = [ImageFacts((8, 6), {0: 9, 1: 5})]
    assert find_odd([white, *others], {})[0] == (empty,)


def test_other_size_than_the_coco_file_says(tmp_path):
    path = write_image(tmp_path)
    image = CocoImage('image.png', 0, None, 7.0)
    [found] = coco_facts(path, image, [annotation([0, 0, 99, 99])], [1])[3]
    text = '8x6 pixels, the COCO file says ?x7: its labels are not drawn'
    assert found == (Kind.OTHER_SIZE, text)


def test_odd_sizes_and_rare_classes():
    facts = [
        *[ImageFacts((8, 6), {0: 5, 1: 5})] * 18,
        ImageFacts((6, 8), {0: 5}),
        ImageFacts((8, 6), {0: 5, 2: 1}),
    ]
    found = find_odd(facts, dict(enumerate(NAMES)))
    assert found[:18] == [()] * 18
    assert found[18] == ((Kind.ODD_SIZE, 'size 6x8, most are 8x6'),)
    assert found[19] == ((Kind.RARE, 'rare: pole (1 of 20 images)'),)
    # Where no size is that of most, none is odd.
    mixed = [ImageFacts((8, k), {0: 5}) for k in range(1, 5)] * 2
    assert find_odd(mixed, {}) == [()] * 8


def test_the_worst_come_first():
    own = [(), (Finding(Kind.EMPTY, ''),), (Finding(Kind.UNREADABLE, ''),)]
    facts = [
        *[ImageFacts((8, 6), {0: 5, 1: 5})] * 12,
        ImageFacts((8, 6), {0: 9, 2: 1}),  # 12: rare
        ImageFacts((6, 8), {0: 9}),  # 13: odd
        ImageFacts((8, 6), {0: 9}, 0, own[1]),  # 14
        ImageFacts(None, {}, 0, own[2]),  # 15
        ImageFacts((8, 6), {0: 5, 3: 2}),  # 16, 17: second to rare
        ImageFacts((8, 6), {0: 5, 3: 2}),
        ImageFacts((8, 6), {0: 5, 3: 2}),
    ]
    found = find_odd(facts, {})
    order = worst_first(facts, found)
    assert order == [15, 14, 13, 12, 16, 17, 18, *range(12)]
