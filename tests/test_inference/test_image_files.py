import errno
from collections import Counter

import pytest

from mmseg_ext.inference.image_files import find_images, why_not_opened


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_which_files_are_images(tmp_path):
    """Those that data sets and converters take, too."""
    root = tmp_path / 'hands'
    touch(root, 'b.PNG', 'a/x.jpg', '._b.png', '.git/x.png', '__MACOSX/b.png')
    touch(root, 'notes.txt', 'a.heic', 'a/B.HEIC', 'c.gif', '.d.gif')
    touch(tmp_path, 'nas/z.webp')
    (root / 'nas').symlink_to(tmp_path / 'nas')
    (root / 'l').symlink_to('.')
    (root / 'a' / 'up').symlink_to(tmp_path)
    (tmp_path / 'link').symlink_to('hands')
    others = Counter()
    found = find_images([root, tmp_path / 'link', root / 'b.PNG'], others)
    expected = [
        str(root / name) for name in ('a/x.jpg', 'b.PNG', 'nas/z.webp')
    ]
    assert found == expected
    assert others == {'.heic': 2, '.gif': 1}


def test_files_are_taken_as_they_are(tmp_path):
    touch(tmp_path, 'x.raw', 'a/y')
    paths = [str(tmp_path / name) for name in ('x.raw', 'a/y')]
    assert find_images(paths) == paths


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no image or folder .*/gone'):
        find_images([tmp_path / 'gone'])
    with pytest.raises(ValueError, match=r'no images in [^,]*; expected'):
        find_images([tmp_path])
    touch(tmp_path, 'a.heic')
    with pytest.raises(ValueError, match=r'images in .*, but 1 of kinds that'):
        find_images([tmp_path])


def test_files_that_cannot_be_opened():
    error = PermissionError(errno.EACCES, 'Permission denied', 'a.png')
    assert why_not_opened('a.png', error) == (
        'a.png: there is no permission to read it'
    )
    error = OSError(errno.EIO, 'Input/output error', 'a.png')
    assert why_not_opened('a.png', error) == (
        'a.png cannot be opened: Input/output error'
    )
    error = OSError('a.png is a pipe; expected a file')
    assert why_not_opened('a.png', error) == str(error)
