import os

import pytest

from mmseg_ext.utils.files import atomic_path, path_inside, write_text


def test_whole_file_or_old_one(tmp_path):
    path = tmp_path / 'folder' / 'data.txt'
    write_text(path, 'old')

    def stop_halfway():
        with atomic_path(path) as temporary:
            temporary.write_text('half of the n')
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_halfway()
    assert path.read_text() == 'old'
    assert os.listdir(path.parent) == ['data.txt']


def test_mode_is_that_of_open(tmp_path):
    write_text(tmp_path / 'a', '')
    (tmp_path / 'b').touch()
    modes = [(tmp_path / name).stat().st_mode for name in 'ab']
    assert modes[0] == modes[1]


def test_path_inside(tmp_path):
    assert path_inside(tmp_path, 'a/../b') == tmp_path / 'b'


@pytest.mark.parametrize('path', ['../x', 'a/../../x', '/etc/passwd'])
def test_path_outside(tmp_path, path):
    with pytest.raises(ValueError, match='leaves its root'):
        path_inside(tmp_path, path)
