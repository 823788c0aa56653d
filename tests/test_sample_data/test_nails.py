import numpy as np
import pytest
from PIL import Image

from mmseg_ext.sample_data.nails import nail_scene, nail_stem, write_nails
from references.nails import components

SIZE = (240, 180)


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_tree_of_the_tutorial(tmp_path):
    counts = write_nails(tmp_path, num=6, size=SIZE, progress=False)
    assert counts == {
        'Images/1': 2,
        'Images/2': 2,
        'Images/3': 1,
        'Images/4': 1,
    }
    assert sorted(contents(tmp_path)) == sorted(
        f'{folder}/{index % 4 + 1}/{nail_stem(index)}.png'
        for folder in ('Images', 'Masks')
        for index in range(6)
    )
    for index in range(6):
        scene = nail_scene(SIZE, 0, index)
        name = f'{index % 4 + 1}/{nail_stem(index)}.png'
        for folder, pixels in (('Images', scene.image), ('Masks', scene.mask)):
            written = np.asarray(Image.open(tmp_path / folder / name))
            assert (written == pixels[..., ::-1]).all()


@pytest.mark.parametrize('index', range(12))
def test_masks_are_the_scenes_nails(index):
    scene = nail_scene(SIZE, 0, index)
    assert scene.style == ('spread', 'colored', 'touching')[index % 3]
    numbers = range(1, scene.instances.max() + 1)
    assert len(numbers) in (4, 5)
    for number in numbers:
        assert len(components(scene.instances == number)) == 1
        assert (scene.instances == number).sum() > 100
    blobs = len(components(scene.instances > 0))
    if scene.style == 'spread':
        assert blobs == len(numbers)
    else:
        assert blobs == len(numbers) - 3  # four fingers, and the thumb
    expected = set(numbers) if scene.style == 'colored' else {1}
    colors = {
        tuple(scene.mask[scene.instances == number][0].tolist())
        for number in numbers
    }
    assert len(colors) == len(expected)
    if scene.style != 'colored':
        assert colors == {(255, 255, 255)}
    for number in numbers:
        painted = scene.mask[scene.instances == number]
        assert (painted == painted[0]).all()
        assert painted[0].max() == 255
    assert not scene.mask[scene.instances == 0].any()


def test_nails_can_be_seen():
    """They differ from the skin around them by more than its noise."""
    for index in range(6):
        scene = nail_scene(SIZE, 0, index)
        gray = scene.image.astype(int)
        nails = scene.instances > 0
        around = np.zeros_like(nails)
        for shift in (-3, 3):
            for axis in (0, 1):
                around |= np.roll(nails, shift, axis)
        around &= ~nails
        difference = gray[nails].mean(axis=0) - gray[around].mean(axis=0)
        assert np.abs(difference).max() > 10


def test_same_arguments_same_bytes(tmp_path):
    for name in ('a', 'b'):
        write_nails(tmp_path / name, num=4, size=(64, 48), progress=False)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    write_nails(tmp_path / 'c', num=4, size=(64, 48), seed=1, progress=False)
    first, other = contents(tmp_path / 'a'), contents(tmp_path / 'c')
    assert first.keys() == other.keys()
    assert not [name for name in first if first[name] == other[name]]


def test_stopped_run_is_continued(tmp_path):
    write_nails(tmp_path, num=4, size=(64, 48), progress=False)
    whole = contents(tmp_path)
    (tmp_path / 'Masks/1' / f'{nail_stem(0)}.png').unlink()
    write_nails(tmp_path, num=4, size=(64, 48), progress=False)
    assert contents(tmp_path) == whole


def test_other_content_is_kept_unless_allowed(tmp_path):
    write_nails(tmp_path, num=4, size=(64, 48), progress=False)
    before = contents(tmp_path)
    options = {'num': 4, 'size': (64, 48), 'seed': 1, 'progress': False}
    with pytest.raises(FileExistsError, match='exists with other content'):
        write_nails(tmp_path, **options)
    assert contents(tmp_path) == before
    write_nails(tmp_path, **options, overwrite=True)
    assert contents(tmp_path) != before


def test_other_images_are_refused(tmp_path):
    write_nails(tmp_path, num=5, size=(64, 48), progress=False)
    with pytest.raises(FileExistsError, match='not part of this sample set'):
        write_nails(tmp_path, num=4, size=(64, 48), progress=False)


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [
        pytest.param({'num': 3}, 'num', id='too-few'),
        pytest.param({'num': 4.0}, 'num', id='no-whole-number'),
        pytest.param({'size': (8, 480)}, 'size', id='size'),
        pytest.param({'seed': -1}, 'seed', id='seed'),
    ],
)
def test_wrong_arguments(tmp_path, arguments, name):
    with pytest.raises(ValueError, match=f'^{name}=.*: expected'):
        write_nails(tmp_path / 'x', **arguments)
    assert not (tmp_path / 'x').exists()
