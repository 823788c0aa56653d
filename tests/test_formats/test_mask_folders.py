import cv2
import numpy as np
import pytest

from mmseg_ext.formats.mask_folders import read_folders


def write(folder, names, value=0, shape=(4, 5)):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full(shape, value, np.uint8))


def pairs(labeled):
    return {
        image.name: image.label.name
        for image in labeled.images
        if image.label.exists()
    }


def test_pairs_by_name(tmp_path):
    write(tmp_path / 'i', ['a.jpg', 'x/b.jpg', 'c.png'])
    write(tmp_path / 'm', ['a.png', 'x/b.png', 'd.png'])
    labeled = read_folders(tmp_path / 'i', tmp_path / 'm')
    assert pairs(labeled) == {'a.jpg': 'a.png', 'x/b.jpg': 'b.png'}
    assert [image.name for image in labeled.images][1:] == ['c.png', 'x/b.jpg']
    assert labeled.name == 'i'
    assert labeled.names is None
    [note] = labeled.notes
    assert note.endswith(f'are not shown: {tmp_path}/m/d.png')


def test_pairs_by_an_end(tmp_path):
    """Of two images that a mask may belong to, by the end of most masks."""
    images = ['1.jpg', '10.jpg', '10_a.jpg', '2.jpg']
    write(tmp_path / 'i', images)
    write(tmp_path / 'm', ['1_L.png', '10_L.png', '10_a_L.png', '2_L.png'])
    labeled = read_folders(tmp_path / 'i', tmp_path / 'm')
    assert pairs(labeled) == {
        name: name.replace('.jpg', '_L.png') for name in images
    }


def test_one_folder_for_both(tmp_path):
    write(tmp_path, ['a.png', 'a_L.png', 'b.png', 'b_L.png', 'c.png'])
    labeled = read_folders(tmp_path, tmp_path)
    assert pairs(labeled) == {'a.png': 'a_L.png', 'b.png': 'b_L.png'}
    assert [image.name for image in labeled.images] == [
        *('a.png', 'b.png', 'c.png')
    ]
    assert labeled.notes == []


def test_class_lists(tmp_path):
    write(tmp_path / 'i', ['a.jpg'])
    write(tmp_path / 'm', ['a.png'], 2)
    (tmp_path / 'codes.txt').write_text('road\nvoid\ncar\n')
    labeled = read_folders(tmp_path / 'i', tmp_path / 'm')
    assert labeled.names == ('road', 'void', 'car')
    assert labeled.notes == [f'classes: {tmp_path}/codes.txt']
    [image] = labeled.images
    label, warning = image.read_label()
    assert (label == 2).all()
    assert warning is None
    # Void is ignored, what no class has stays as it is.
    for value, expected in ((1, 255), (7, 7), (255, 255)):
        write(tmp_path / 'm', ['a.png'], value)
        assert (image.read_label()[0] == expected).all()
    other = tmp_path / 'other.csv'
    other.write_text('name,r,g,b\nwhite,255,255,255\nblack,0,0,0\n')
    labeled = read_folders(tmp_path / 'i', tmp_path / 'm', other)
    assert labeled.palette == ((255, 255, 255), (0, 0, 0))
    assert labeled.notes == []
    assert (labeled.images[0].read_label()[0] == 0).all()


def test_unknown_colors_are_told(tmp_path):
    write(tmp_path / 'i', ['a.jpg'])
    (tmp_path / 'm').mkdir()
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[0] = 10, 20, 30
    cv2.imwrite(str(tmp_path / 'm/a.png'), mask)
    (tmp_path / 'class_dict.csv').write_text('name,r,g,b\nroad,0,0,0\n')
    [image] = read_folders(tmp_path / 'i', tmp_path / 'm').images
    label, warning = image.read_label()
    # Not 255, which would be ignored, nor any class.
    assert label[0].tolist() == [254] * 5
    assert (label[1:] == 0).all()
    assert '5 of 20 pixels' in warning
    assert '(30, 20, 10) 5 times' in warning
    (tmp_path / 'class_dict.csv').unlink()
    [image] = read_folders(tmp_path / 'i', tmp_path / 'm').images
    with pytest.raises(ValueError, match='is in color: expected class_dict'):
        image.read_label()


def test_nothing_to_pair(tmp_path):
    write(tmp_path / 'i', ['a.jpg'])
    write(tmp_path / 'm', ['b.png'])
    (tmp_path / 'n').mkdir()
    match = 'no mask in .* has the name of an image'
    with pytest.raises(FileNotFoundError, match=match):
        read_folders(tmp_path / 'i', tmp_path / 'm')
    with pytest.raises(FileNotFoundError, match=r"masks='.*n': expected fil"):
        read_folders(tmp_path / 'i', tmp_path / 'n')
    write(tmp_path / 'i', ['a.png'])
    with pytest.raises(ValueError, match='have the same name but for'):
        read_folders(tmp_path / 'i', tmp_path / 'm')


def test_one_folder_without_ends(tmp_path):
    write(tmp_path, ['a.png', 'b.png'])
    with pytest.raises(FileNotFoundError, match=r'both lie in .*give the fol'):
        read_folders(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ('mask', 'rows', 'told'),
    [
        # Rows of the list, and grays of it.
        ([[0, 1]], 'a,1,1,1\nb,0,0,0\n', 'give class_dict as a text file'),
        # In three equal channels, so colors; 2 is none.
        (
            [[[0] * 3, [2] * 3]],
            'a,0,0,0\nb,9,9,9\nc,8,8,8\n',
            'give class_dict as a text file',
        ),
        ([[[0, 0, 0, 0], [9, 9, 9, 255]]], 'a,0,0,0\n', ': save the masks wi'),
    ],
)
def test_hints_name_what_there_is(tmp_path, mask, rows, told):
    """No arguments of data sets."""
    write(tmp_path / 'i', ['a.jpg'])
    write(tmp_path / 'm', ['a.png'])
    cv2.imwrite(str(tmp_path / 'm/a.png'), np.array(mask, np.uint8))
    (tmp_path / 'class_dict.csv').write_text(f'name,r,g,b\n{rows}')
    [image] = read_folders(tmp_path / 'i', tmp_path / 'm').images
    with pytest.raises(ValueError, match=told) as caught:
        image.read_label()
    assert 'data set' not in str(caught.value)
    assert "='" not in str(caught.value)
