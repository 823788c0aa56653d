"""Every way to store a label map times every reader: right, or an error.

The one thing that may not be is labels that are silently others. An error is
one that names the file.
"""

import base64
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image
from pycocotools import mask as coco_mask

from helpers.mask_files import saved, tiff_file
from helpers.mask_forms import (
    COLORS,
    ENTRIES,
    GRAYS,
    INDICES,
    TRUTHS,
    Truth,
    file_name,
    forms,
)
from helpers.real_data import CAMVID, NAILS
from mmseg_ext.converters import camvid, cityscapes, idd, labelme, nails
from mmseg_ext.converters.outputs import Outputs
from mmseg_ext.formats.color_masks import read_class_dict, write_class_dict
from mmseg_ext.labels.camvid import CAMVID32
from mmseg_ext.utils.images import encode_labels, write_png
from references import color_masks as reference

# pycocotools 2.0 does not know NumPy 2's way to hand over arrays.
pytestmark = pytest.mark.filterwarnings(
    'ignore:__array__ implementation:DeprecationWarning'
)

RIGHT, ERROR, WARNED, OUTSIDE = 'right', 'error', 'warned', 'outside'

#: What each reader has to take.
INDEX_FORMS = (
    *('indices: gray PNG', 'indices: gray PNG by OpenCV', 'indices: PGM'),
    *('indices: 1-bit PNG', 'indices: 2-bit PNG', 'indices: 4-bit PNG'),
    *('indices: 16-bit PNG', 'indices: gray TIFF', 'indices: gray BMP'),
    *('indices: interlaced gray PNG', 'palette PNG', '4-bit palette PNG'),
)
COLOR_FORMS = (
    *('RGB PNG', 'RGB PNG by OpenCV', 'RGB PNG by matplotlib', 'RGBA PNG'),
    *('interlaced RGB PNG', 'RGB BMP', 'PPM', 'RGB TIFF, LZW'),
    *('lossless WebP', 'palette PNG', 'sorted palette PNG', 'GIF'),
)
GRAY_FORMS = (
    *('shown: gray PNG', 'shown: 1-bit PNG', 'shown: gray as RGB PNG'),
    *('shown: gray BMP', 'shown: fax', 'shown: 1-bit palette PNG'),
)

#: Nails have to be large.
HANDS = np.zeros((64, 96), np.uint8)
for left in (8, 30, 52, 74):
    HANDS[10 + left // 4 : 30 + left // 4, left : left + 12] = 1
HAND = Truth(HANDS, ((0, 0, 0), (255, 255, 255)))
INVERTED = Truth(HANDS, ((255, 255, 255), (0, 0, 0)))

STREETS = Truth(
    TRUTHS['11 classes and 255'].labels % 11, tuple(CAMVID32.values())
)


def outcome(found, name, labels):
    """Return what a reader made of a file.

    Args:
        found: What it gave, or its error as text or exception.
        name: Of the file, which errors have to have.
        labels: What it should have given.
    """
    if isinstance(found, np.ndarray):
        return RIGHT if np.array_equal(found, labels) else 'other labels'
    if isinstance(found, Exception) and not isinstance(found, ValueError):
        return repr(found)
    return ERROR if name in str(found) else f'no name: {found}'


def attempt(function, *args):
    """Return a result, or the exception."""
    try:
        return function(*args)
    except Exception as error:
        return error


def check(outcomes, right, others=()):
    """Check that nothing is silently other, and that some are right.

    Not each label map can be stored in each of these forms, but some can.
    """
    assert set(right) <= {*COLORS, *GRAYS, *INDICES, *ENTRIES, *ID_FORMS}
    assert set(right) & set(outcomes) or not right
    good = {RIGHT, ERROR, *others}
    wrong = {form: o for form, o in outcomes.items() if o not in good}
    assert wrong == {}
    missed = {
        form: outcomes[form]
        for form in right
        if outcomes.get(form, RIGHT) != RIGHT
    }
    assert missed == {}


def is_palette(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.mode == 'P'


def index_files(truth):
    """Return the files that may be given to who wants indices.

    Colors in a sorted palette are not among them: their entries are as good
    indices as any. Nor are grays that would be others as indices.
    """
    others = truth.gray is not None and not truth.is_black_and_white
    return {
        form: data
        for form, data in forms(truth).items()
        if form in INDICES
        or form in ENTRIES
        or not (is_palette(data) or (others and 'indices' not in form))
    }


# Loaders.


@pytest.fixture(scope='module')
def photograph(tmp_path_factory):
    """The root of a data set with one image and label."""
    root = tmp_path_factory.mktemp('data')
    write_png(root / 'train/a.png', np.zeros((32, 48, 3), np.uint8))
    write_png(root / 'train_labels/a.png', np.zeros((32, 48), np.uint8))
    return root


def info_of(photograph, kind, **options):
    """Return what a data set says of a sample."""
    dataset = DATASETS.build(
        {
            'type': kind,
            'data_root': str(photograph),
            'data_prefix': {
                'img_path': 'train',
                'seg_map_path': 'train_labels',
            },
            'img_suffix': '.png',
            'seg_map_suffix': '.png',
            **options,
        }
    )
    return dataset.get_data_info(0)


def load(loader, info, path):
    """Load a label with a loader that has seen none before."""
    transform = TRANSFORMS.build({'type': loader})
    sample = {**info, 'seg_fields': [], 'seg_map_path': str(path)}
    return transform(sample)['gt_seg_map']


def load_all(loader, info, files, truth, folder):
    """Load files; return the outcomes."""
    outcomes = {}
    for form, data in files.items():
        path = folder / file_name(form)
        path.write_bytes(data)
        found = attempt(load, loader, info, path)
        outcomes[form] = outcome(found, path.name, truth.labels)
    return outcomes


@pytest.mark.parametrize('name', TRUTHS)
def test_index_masks_to_train_with(name, photograph, tmp_path, mmlog):
    """Two more ends are good: a warning with the file, for 0 and 255.

    And labels that no class has, at which training stops.
    """
    truth = TRUTHS[name]
    names = list(truth.class_dict)[: len(truth.colors) - truth.void]
    info = info_of(
        photograph,
        'BaseSegDataset',
        metainfo={'classes': names, 'palette': truth.colors[: len(names)]},
    )
    files = index_files(truth)
    outcomes = load_all('FastLoadAnnotations', info, files, truth, tmp_path)
    for form, found in outcomes.items():
        path = tmp_path / file_name(form)
        if found != 'other labels':
            continue
        labels = load('FastLoadAnnotations', info, path)
        if ((labels >= len(names)) & (labels != 255)).any():
            outcomes[form] = OUTSIDE
        elif set(np.unique(labels).tolist()) <= {0, 255}:
            outcomes[form] = (
                WARNED if f'/{path.name}' in mmlog.text else '0 and 255'
            )
    check(outcomes, INDEX_FORMS, (WARNED, OUTSIDE))


@pytest.mark.parametrize('name', TRUTHS)
def test_color_masks_to_train_with(name, photograph, tmp_path):
    truth = TRUTHS[name]
    info = info_of(photograph, 'ColorMaskDataset', class_dict=truth.class_dict)
    outcomes = load_all('LoadColorMasks', info, forms(truth), truth, tmp_path)
    check(outcomes, right_in_color(name))


def right_in_color(name):
    """Return the forms that have to be read with a list of colors."""
    plain = ('indices: gray PNG', 'indices: 4-bit PNG')
    if name in ('two classes', '11 classes and 255', 'black and white'):
        return COLOR_FORMS + plain + GRAY_FORMS
    if name in ('white and black', 'only black and white of others'):
        return COLOR_FORMS + GRAY_FORMS
    return COLOR_FORMS


def test_camvid_without_its_list(photograph, tmp_path):
    """The colors are known, indices are not."""
    info = info_of(photograph, 'CamVid')
    outcomes = load_all(
        'LoadColorMasks', info, forms(STREETS), STREETS, tmp_path
    )
    check(outcomes, COLOR_FORMS)
    assert {outcomes[form] for form in INDICES if form in outcomes} == {ERROR}


@pytest.mark.parametrize(
    'name', ['black and white', 'black and white among others']
)
def test_masks_of_other_classes_without_their_list(name, photograph, tmp_path):
    info = info_of(photograph, 'CamVid')
    truth = TRUTHS[name]
    outcomes = load_all('LoadColorMasks', info, forms(truth), truth, tmp_path)
    assert {form: o for form, o in outcomes.items() if o != ERROR} == {}


# Converters.


def converted(report, form, source, target, read):
    """Return what a converter made of a file: labels, or why none."""
    reasons = [
        f'{skip.file}: {skip.reason}'
        for skip in report.skipped
        if skip.file == str(source)
    ]
    if reasons:
        return ' '.join(reasons)
    return attempt(read, target)


@pytest.mark.parametrize('name', TRUTHS)
def test_camvid_converter(name, tmp_path):
    truth, files = TRUTHS[name], forms(TRUTHS[name])
    masks = tmp_path / 'train_labels'
    masks.mkdir()
    for form, data in files.items():
        (masks / file_name(form)).write_bytes(data)
    write_class_dict(tmp_path / 'class_dict.csv', truth.class_dict)

    report = camvid.convert(tmp_path, skip_invalid=True, progress=False)

    outcomes = {}
    for form in files:
        source = masks / file_name(form)
        target = tmp_path / 'index/train_labels' / source.name
        found = converted(report, form, source, target, read_gray)
        outcomes[form] = outcome(found, source.name, truth.labels)
    check(outcomes, right_in_color(name))


def read_gray(path):
    """Read an 8-bit gray PNG that we wrote."""
    with Image.open(path) as image:
        assert image.mode == 'L'
        return np.asarray(image)


@pytest.mark.parametrize(
    'name', ['two classes', '11 classes and 255', 'background']
)
def test_idd_with_label_maps_that_are_there(name, photograph, tmp_path):
    """Not those of 0 and 255: they may be a road and unlabelled pixels."""
    truth = TRUTHS[name]
    files = index_files(truth)
    del files['indices: gray by matplotlib']
    images = tmp_path / 'raw/leftImg8bit/train/0'
    labels = tmp_path / 'raw/gtFine/train/0'
    for folder in (images, labels):
        folder.mkdir(parents=True)
    size = {'imgWidth': 48, 'imgHeight': 32}
    polygons = json.dumps({**size, 'objects': []})
    sources = {}
    for number, (form, data) in enumerate(files.items()):
        shutil.copy(
            photograph / 'train/a.png', images / f'{number}_leftImg8bit.png'
        )
        (labels / f'{number}_gtFine_polygons.json').write_text(polygons)
        sources[form] = labels / f'{number}_gtFine_labellevel3Ids.png'
        sources[form].write_bytes(data)

    report = idd.convert(
        [tmp_path / 'raw'],
        tmp_path / 'out',
        skip_invalid=True,
        progress=False,
    )

    info = {'reduce_zero_label': False}
    outcomes = {}
    for number, (form, source) in enumerate(sources.items()):
        target = tmp_path / f'out/train_label/0_{number}.png'
        found = converted(
            report,
            form,
            source,
            target,
            lambda path: load('FastLoadAnnotations', info, path),
        )
        outcomes[form] = outcome(found, source.name, truth.labels)
    check(outcomes, ['indices: gray PNG', 'indices: gray PNG by OpenCV'])


@pytest.mark.parametrize('name', TRUTHS)
def test_label_maps_in_the_place_of_results(name, tmp_path):
    """A file that is there is kept if it is what a converter writes."""
    truth, outputs = TRUTHS[name], Outputs(tmp_path)
    outcomes = {}
    for form, data in forms(truth).items():
        path = tmp_path / file_name(form)
        path.write_bytes(data)

        def keep(path=path):
            whole = outputs.is_whole(path, truth.labels.shape[::-1])
            kept = not outputs.write_png(
                path, encode_labels(truth.labels), tmp_path
            )
            assert kept or not whole
            return load(
                'FastLoadAnnotations', {'reduce_zero_label': False}, path
            )

        outcomes[form] = outcome(attempt(keep), path.name, truth.labels)
    check(outcomes, ['indices: gray PNG', 'indices: gray PNG by OpenCV'])


IDS = np.array([[7, 24], [26, 24000], [26001, 33]]).repeat(16, 0).repeat(24, 1)
ID_FORMS = {
    '16-bit PNG by Pillow': saved(IDS.astype(np.uint16), 'PNG'),
    '16-bit PNG by OpenCV': cv2.imencode('.png', IDS.astype(np.uint16))[1],
    '16-bit PGM': saved(IDS.astype(np.uint16), 'PPM'),
    'plain PGM': b'P2 48 48 33333\n' + ' '.join(map(str, IDS.flat)).encode(),
    '16-bit TIFF': saved(IDS.astype(np.uint16), 'TIFF'),
    '32-bit TIFF': saved(IDS.astype(np.int32), 'TIFF'),
    'signed TIFF': tiff_file(IDS.astype(np.int16), 16, kind=2),
    'TIFF where 0 is white': tiff_file(
        65535 - IDS.astype(np.uint16), 16, photometric=0
    ),
    'float TIFF': saved(IDS.astype(np.float32), 'TIFF'),
    'cut to 8 bits': saved(IDS.astype(np.uint8), 'PNG'),
    'three channels': cv2.imencode(
        '.png', IDS.astype(np.uint16)[..., None].repeat(3, 2)
    )[1],
    'instances of labelIds': saved(
        np.minimum(IDS, IDS // 1000).astype(np.uint8), 'PNG'
    ),
    'RGBA': saved(
        np.dstack([IDS % 256, IDS // 256, IDS * 0, IDS * 0 + 255]).astype(
            np.uint8
        ),
        'PNG',
    ),
    'JPEG': saved((IDS // 256).astype(np.uint8), 'JPEG'),
}


def test_cityscapes(tmp_path):
    root = tmp_path / 'cityscapes'
    sources = {}
    for split, files in (
        ('train', ID_FORMS),
        ('val', {'16-bit PNG by Pillow': ID_FORMS['16-bit PNG by Pillow']}),
    ):
        for number, (form, data) in enumerate(files.items()):
            stem = f'{split}/city/city_{number:06}_000019'
            write_png(
                root / f'leftImg8bit/{stem}_leftImg8bit.png',
                np.zeros((48, 48, 3), np.uint8),
            )
            path = root / f'gtFine/{stem}_gtFine_instanceIds.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(data))
            if split == 'train':
                sources[form] = path

    report = cityscapes.convert(root, skip_invalid=True, progress=False)

    name = 'instancesonly_filtered_gtFine_train.json'
    coco = json.loads((root / 'annotations' / name).read_text())

    def read(path):
        stem = path.name.partition('_gtFine')[0]
        [image] = [
            image['id']
            for image in coco['images']
            if stem in image['file_name']
        ]
        return sorted(
            (row['category_id'], row['iscrowd'], mask_of(row).tobytes())
            for row in coco['annotations']
            if row['image_id'] == image
        )

    expected = sorted(
        (label, crowd, (value == IDS).astype(np.uint8).tobytes())
        for value, label, crowd in (
            *((24, 24, 1), (26, 26, 1), (33, 33, 1)),
            *((24000, 24, 0), (26001, 26, 0)),
        )
    )
    outcomes = {}
    for form, path in sources.items():
        found = converted(report, form, path, path, read)
        if isinstance(found, list):
            found = np.array(found == expected)
        outcomes[form] = outcome(found, path.name, np.array(True))
    check(
        outcomes, [form for form in ID_FORMS if form.startswith('16-bit PNG')]
    )


def mask_of(row):
    """Return the mask of a COCO annotation, uint8 (H, W)."""
    code = row['segmentation']
    return coco_mask.decode({**code, 'counts': code['counts'].encode()})


@pytest.mark.parametrize('truth', [HAND, INVERTED], ids=['hand', 'inverted'])
def test_nails(truth, tmp_path):
    """Lossy masks may differ at edges, and count as right."""
    files = forms(truth)
    photograph = np.zeros((*HANDS.shape, 3), np.uint8)
    good = saved(HANDS * 255, 'PNG')
    sources = {}
    for form, data in {**files, 'good': good}.items():
        folder = tmp_path / ('valid' if form == 'good' else 'train')
        write_png(folder / 'images' / file_name(form), photograph)
        sources[form] = folder / 'masks' / file_name(form)
        sources[form].parent.mkdir(exist_ok=True)
        sources[form].write_bytes(data)
    write_png(tmp_path / 'train/images/good.png', photograph)
    write_png(tmp_path / 'train/masks/good.png', HANDS * 255)

    report = nails.convert(tmp_path, skip_invalid=True, progress=False)

    coco = json.loads((tmp_path / 'annotations/train.json').read_text())
    expected = sorted(mask.tobytes() for mask in single(HANDS))

    def read(path):
        [image] = [
            image['id']
            for image in coco['images']
            if image['file_name'].endswith(f'/{path.name}')
        ]
        return [
            mask_of(row)
            for row in coco['annotations']
            if row['image_id'] == image
        ]

    outcomes = {}
    for form in files:
        found = converted(report, form, sources[form], sources[form], read)
        if isinstance(found, list):
            if 'EXIF' in form:  # by 180 degrees
                found = [mask[::-1, ::-1] for mask in found]
            exact = sorted(mask.tobytes() for mask in found) == expected
            near = is_lossy(form) and len(found) == len(expected)
            if near:
                whole = np.any(found, axis=0)
                near = (whole == HANDS).mean() > 0.97
            found = np.array(exact or near)
        outcomes[form] = outcome(found, sources[form].name, np.array(True))
    check(outcomes, COLOR_FORMS + GRAY_FORMS if truth is HAND else ())


def is_lossy(form):
    return any(
        name in form for name in ('JPEG', 'WebP', 'YCbCr', 'CMYK', '16 bits')
    )


def single(mask):
    count, labels = cv2.connectedComponents(mask)
    return [(labels == i).astype(np.uint8) for i in range(1, count)]


def test_masks_of_labelme(tmp_path):
    """The pixels of a mask that are not 0 are those of the shape."""
    files = index_files(HAND)
    height, width = HANDS.shape
    photograph = saved(np.zeros((height, width, 3), np.uint8), 'PNG')
    for form, data in {**files, 'good': saved(HANDS, 'PNG')}.items():
        path = tmp_path / file_name(form)
        path.write_bytes(photograph)
        shape = {
            'label': 'nail',
            'shape_type': 'mask',
            'points': [[0, 0], [width - 1, height - 1]],
            'mask': base64.b64encode(data).decode(),
        }
        content = {
            'imagePath': path.name,
            'imageWidth': width,
            'imageHeight': height,
            'shapes': [shape],
        }
        path.with_suffix('.json').write_text(json.dumps(content))

    report = labelme.convert(tmp_path, skip_invalid=True, progress=False)

    outcomes = {}
    for form in files:
        source = (tmp_path / file_name(form)).with_suffix('.json')
        target = tmp_path / 'index/labels' / file_name(form)
        found = converted(report, form, source, target, read_gray)
        outcomes[form] = outcome(found, source.name, HANDS)
    check(
        outcomes,
        ['indices: gray PNG', 'indices: 1-bit PNG', 'shown: gray PNG'],
    )


# Real data.


def stored(names, writers, pixels):
    """Return the files of some forms, as far as they can be."""
    files = {name: writers[name](pixels) for name in names if name in writers}
    return {name: data for name, data in files.items() if data}


@pytest.mark.skipif(not CAMVID.is_dir(), reason='no CamVid')
def test_real_masks_of_streets(photograph, tmp_path):
    """The same labels of each form, as colors and as rows of the list."""
    classes = read_class_dict(CAMVID / 'class_dict.csv')
    void = list(classes).index('Void')
    paths = sorted((CAMVID / 'train_labels').iterdir())
    info = info_of(photograph, 'ColorMaskDataset', class_dict=classes)
    names = {'classes': [*classes], 'palette': [*classes.values()]}
    plain = info_of(photograph, 'BaseSegDataset', metainfo=names)
    for path in (paths[0], paths[-1]):
        rows, _ = reference.decode(
            path, [(color, row) for row, color in enumerate(classes.values())]
        )
        truth = Truth(rows.astype(np.uint8), tuple(classes.values()))
        assert np.array_equal(truth.rgb, np.array(Image.open(path)))
        labels = np.where(rows == void, 255, rows)
        files = stored(COLOR_FORMS, COLORS, truth.rgb)
        files |= stored(INDEX_FORMS, INDICES, truth.labels)
        expected = Truth(labels, truth.colors)
        assert len(files) > 15
        outcomes = load_all('LoadColorMasks', info, files, expected, tmp_path)
        assert set(outcomes.values()) == {RIGHT}
        indices = {form: d for form, d in files.items() if form in INDICES}
        outcomes = load_all(
            'FastLoadAnnotations', plain, indices, truth, tmp_path
        )
        assert set(outcomes.values()) == {RIGHT}


@pytest.mark.skipif(not NAILS.is_dir(), reason='no nails')
def test_real_masks_of_nails(tmp_path):
    """The same nails of each form."""
    paths = sorted(
        (NAILS / 'labels').iterdir(), key=lambda p: p.stat().st_size
    )
    for number, path in enumerate(paths[:3]):
        bgr = cv2.imread(str(path))
        gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        sharp = np.where(gray > 127, 255, 0).astype(np.uint8)
        files = stored(COLOR_FORMS, COLORS, bgr[..., ::-1])
        files |= stored(GRAY_FORMS, GRAYS, sharp)
        files['as it is'] = path.read_bytes()
        root = tmp_path / str(number)
        for form, data in files.items():
            for split in ('train', 'valid'):
                folder = root / split / 'masks'
                write_png(root / split / 'images' / file_name(form), bgr)
                folder.mkdir(exist_ok=True)
                (folder / file_name(form)).write_bytes(data)
        nails.convert(root, progress=False)
        coco = json.loads((root / 'annotations/train.json').read_text())
        found = {}
        for image in coco['images']:
            found[image['file_name']] = sorted(
                mask_of(row).tobytes()
                for row in coco['annotations']
                if row['image_id'] == image['id']
            )
        assert len(found) == len(files)
        expected = found[f'train/images/{file_name("as it is")}']
        assert expected
        assert {name for name, f in found.items() if f != expected} == set()
