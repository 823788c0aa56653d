import pytest

from mmseg_ext.formats.left_img import pair_files, scan_split

IMAGES = ['_leftImg8bit.png', '_leftImg8bit.jpg']
POLYGONS = '_gtFine_polygons.json'


@pytest.fixture
def root(tmp_path):
    names = [
        *('leftImg8bit/val/b/1_leftImg8bit.png', 'gtFine/val/b/1' + POLYGONS),
        *('leftImg8bit/val/a/2_leftImg8bit.jpg', 'gtFine/val/a/2' + POLYGONS),
        *('leftImg8bit/val/a/3_leftImg8bit.png', 'gtFine/val/a/4' + POLYGONS),
        *('leftImg8bit/train/a/5_leftImg8bit.png', 'gtFine/val/a/x.txt'),
        *(
            'leftImg8bit/val/a/deep/6_leftImg8bit.png',
            'gtFine/val/7' + POLYGONS,
        ),
        'leftImg8bit/val/a/._3_leftImg8bit.png',
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_files_lie_one_folder_deep(root):
    found = scan_split(root / 'leftImg8bit' / 'val', *IMAGES)
    assert found == {
        IMAGES[0]: {
            ('a', '3'): str(root / 'leftImg8bit/val/a/3_leftImg8bit.png'),
            ('b', '1'): str(root / 'leftImg8bit/val/b/1_leftImg8bit.png'),
        },
        IMAGES[1]: {
            ('a', '2'): str(root / 'leftImg8bit/val/a/2_leftImg8bit.jpg'),
        },
    }
    assert scan_split(root / 'missing', *IMAGES) == {e: {} for e in IMAGES}


def test_pairs_and_what_is_alone(root):
    pairs = list(pair_files(root, 'val', IMAGES, POLYGONS))
    assert [(pair.sequence, pair.name) for pair in pairs] == [
        *(('a', '3'), ('b', '1'), ('a', '2'), ('a', '4'))
    ]
    alone, one, two, lost = pairs
    assert one.image == str(root / 'leftImg8bit/val/b/1_leftImg8bit.png')
    assert one.annotation == str(root / f'gtFine/val/b/1{POLYGONS}')
    assert two.annotation == str(root / f'gtFine/val/a/2{POLYGONS}')
    assert alone.annotation is None
    assert alone.fault('polygons') == (
        str(root / 'leftImg8bit/val/a/3_leftImg8bit.png'),
        f'has no polygons; expected {root}/gtFine/val/a/3{POLYGONS}',
    )
    file, reason = lost.fault('polygons')
    assert file == str(root / f'gtFine/val/a/4{POLYGONS}')
    assert reason == (
        f'has no image; expected {root}/leftImg8bit/val/a/4'
        '_leftImg8bit.png or _leftImg8bit.jpg'
    )


def test_two_images_of_one_annotation(root):
    (root / 'leftImg8bit/val/b/1_leftImg8bit.jpg').touch()
    pairs = list(pair_files(root, 'val', IMAGES, POLYGONS))
    both = [pair.image for pair in pairs if pair.name == '1']
    assert both == [
        str(root / f'leftImg8bit/val/b/1{ending}') for ending in IMAGES
    ]
