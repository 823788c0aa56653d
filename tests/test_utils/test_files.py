import os
import socket

import pytest

from mmseg_ext.utils.files import (
    MAX_BYTES,
    atomic_path,
    find_files,
    path_inside,
    read_file,
    write_text,
)


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


def _touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_which_files_are_data(tmp_path):
    _touch(
        tmp_path,
        *('b/c/x.png', 'a.PNG', 'a.txt', '.hidden.png', '.git/x.png'),
        *('__MACOSX/b/x.png', 'b/._x.png', 'folder.png/y.png', 'x.png.txt'),
    )
    os.mkfifo(tmp_path / 'pipe.png')
    found = ['a.PNG', 'b/c/x.png', 'folder.png/y.png']
    assert find_files(tmp_path, ['.png']) == found
    assert find_files(tmp_path) == sorted([*found, 'a.txt', 'x.png.txt'])
    assert find_files(tmp_path, ['.jpg']) == []
    assert find_files(tmp_path / 'missing') == []
    assert find_files(tmp_path / 'a.txt') == []


def test_a_marker_in_front_of_the_suffix(tmp_path):
    _touch(tmp_path, 'x.png', 'x_L.png', 'y_L.PNG')
    assert find_files(tmp_path, ['_L.png']) == ['x_L.png', 'y_L.PNG']


def test_links_are_followed_and_no_folder_is_read_twice(tmp_path):
    """``a_link`` sorts before ``real``, whose name counts all the same."""
    root = tmp_path / 'root'
    _touch(root, 'real/x.png')
    _touch(tmp_path, 'elsewhere/deep/y.png', 'one.png')
    (root / 'a_link').symlink_to('real')
    (root / 'real' / 'loop').symlink_to('..')
    (root / 'outside').symlink_to(tmp_path / 'elsewhere')
    (root / 'outside_too').symlink_to(tmp_path / 'elsewhere')
    (root / 'z.png').symlink_to(tmp_path / 'one.png')
    (root / 'nowhere.png').symlink_to('missing')
    left_out = {}
    assert find_files(root, ['.png'], left_out.__setitem__) == [
        'nowhere.png',
        'outside/deep/y.png',
        'real/x.png',
        'z.png',
    ]
    assert sorted(left_out) == [
        str(root / name) for name in ('a_link', 'outside_too', 'real/loop')
    ]
    assert str(root / 'real') in left_out[str(root / 'a_link')]


def test_links_that_are_left_out_are_said(tmp_path, capsys):
    _touch(tmp_path, 'x.png')
    (tmp_path / 'again').symlink_to('.')
    assert find_files(tmp_path, ['.png']) == ['x.png']
    assert f'left out {tmp_path}/again: it leads' in capsys.readouterr().err


# Reading.


@pytest.fixture
def no_file(tmp_path, request):
    """Return a path of what is no file."""
    path = tmp_path / 'x'
    if request.param == 'a folder':
        path.mkdir()
    elif request.param == 'a pipe':
        os.mkfifo(path)
    elif request.param == 'a device':
        path.symlink_to(os.devnull)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            folder = os.open(tmp_path, os.O_RDONLY)
            # Names of sockets are short, and temporary folders may be deep.
            server.bind(f'/proc/self/fd/{folder}/x')
            os.close(folder)
    return path, request.param


@pytest.mark.parametrize(
    'no_file',
    ['a folder', 'a pipe', 'a device', 'a socket'],
    indirect=True,
)
def test_nothing_but_files_is_read(no_file):
    path, kind = no_file
    with pytest.raises(OSError, match=f'{path} is {kind}; expected a file'):
        read_file(path)


def test_files_are_bounded(tmp_path):
    path = tmp_path / 'x'
    path.write_bytes(b'1234')
    assert read_file(path, 4) == read_file(path, None) == b'1234'
    with pytest.raises(ValueError, match='x has 4 bytes; expected at most 3'):
        read_file(path, 3)
    with open(path, 'wb') as file:  # a hole takes no room
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match='expected at most 1073741824'):
        read_file(path)
