import os
import resource
import socket
import stat

import pytest

from mmseg_ext.utils.files import (
    HIDDEN,
    MAX_BYTES,
    atomic_path,
    find_files,
    path_inside,
    read_file,
    read_text,
    same_file,
    write_bytes,
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


def test_temporary_names_are_short_and_keep_the_suffix(tmp_path):
    for name, suffix in (
        ('x' * 251 + '.png', '.png'),
        ('ä' * 125 + '.json', '.json'),
        ('x', ''),
        ('x.' + 'y' * 200, '.' + 'y' * 15),
    ):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.name.startswith(HIDDEN)
            assert temporary.suffix == suffix
            temporary.touch()
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Note what is synced and renamed, in order."""
    noted = []
    opened = {}

    def open_(path, *arguments):
        file = real_open(path, *arguments)
        opened[file] = os.path.basename(path)
        return file

    def fsync(file):
        noted.append(('fsync', opened[file]))
        real_fsync(file)

    def replace(source, target):
        noted.append(('replace', os.path.basename(source)))
        real_replace(source, target)

    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace
    monkeypatch.setattr('os.open', open_)
    monkeypatch.setattr('os.fsync', fsync)
    monkeypatch.setattr('os.replace', replace)
    return noted


def test_durable_files_are_on_disk_before_they_have_their_name(
    tmp_path, calls
):
    with atomic_path(tmp_path / 'x.json', durable=True) as temporary:
        temporary.write_text('all of it')
        assert calls == []
    assert calls == [
        ('fsync', temporary.name),
        ('replace', temporary.name),
        ('fsync', tmp_path.name),
    ]
    calls.clear()
    write_text(tmp_path / 'y', 'text', durable=True)
    assert [kind for kind, _ in calls] == ['fsync', 'replace', 'fsync']
    calls.clear()
    write_bytes(tmp_path / 'z', b'bytes')
    assert [kind for kind, _ in calls] == ['replace']


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    def fsync(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(22, 'Invalid argument')

    monkeypatch.setattr('os.fsync', fsync)
    write_text(tmp_path / 'x', 'text', durable=True)
    assert (tmp_path / 'x').read_text() == 'text'


def test_a_file_that_cannot_be_synced_is_not_renamed(tmp_path, monkeypatch):
    def fsync(file):
        raise OSError(5, 'Input/output error')

    write_text(tmp_path / 'x', 'old')
    monkeypatch.setattr('os.fsync', fsync)
    with pytest.raises(OSError, match=f"output error: '{tmp_path}/x'"):
        write_text(tmp_path / 'x', 'new', durable=True)
    assert (tmp_path / 'x').read_text() == 'old'
    assert os.listdir(tmp_path) == ['x']


def test_a_full_disk_is_told_with_the_file(tmp_path):
    path = tmp_path / 'x.bin'
    child = os.fork()
    if not child:
        # In a process of its own: such a limit cannot be lifted again.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_bytes(path, bytes(5000))
        except OSError as error:
            named = str(error) == f"[Errno 27] File too large: '{path}'"
            os._exit(0 if named else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert os.listdir(tmp_path) == []


def test_the_temporary_name_is_told_nowhere(tmp_path):
    (tmp_path / 'folder' / 'x').mkdir(parents=True)
    with pytest.raises(OSError, match='folder') as caught:
        write_text(tmp_path / 'folder', 'text')
    assert HIDDEN not in str(caught.value)
    with pytest.raises(OSError, match=r"/y'$"):
        write_bytes(tmp_path / 'y', b'', scratch=tmp_path / 'gone')


def test_path_inside(tmp_path):
    assert path_inside(tmp_path, 'a/../b') == tmp_path / 'b'


@pytest.mark.parametrize('path', ['../x', 'a/../../x', '/etc/passwd'])
def test_path_outside(tmp_path, path):
    with pytest.raises(ValueError, match='leaves its root'):
        path_inside(tmp_path, path)


def test_path_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"'a\\x00b' has a NUL"):
        path_inside(tmp_path, 'a\0b')


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
    # What is no file is for the reader to name.
    found = ['a.PNG', 'b/c/x.png', 'folder.png/y.png', 'pipe.png']
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


def test_links_to_what_holds_the_folder_are_left_out(tmp_path):
    """``train/up`` would bring in ``val``, and ``self`` leads nowhere."""
    _touch(tmp_path, 'data/train/x.png', 'data/val/y.png')
    train = tmp_path / 'data' / 'train'
    (train / 'up').symlink_to('..')
    (train / 'top').symlink_to('/')
    (train / 'self').symlink_to('self')
    (train / 'self.png').symlink_to('self.png')
    left_out = {}
    found = find_files(train, ['.png'], left_out.__setitem__)
    assert found == ['self.png', 'x.png']
    assert sorted(left_out) == [str(train / 'top'), str(train / 'up')]
    assert left_out[str(train / 'up')] == (
        f'leads to {tmp_path}/data, which holds this folder'
    )


def test_a_folder_that_is_a_link_is_read_as_any_other(tmp_path):
    _touch(tmp_path, 'real/x.png')
    (tmp_path / 'real' / 'real').symlink_to('.')
    (tmp_path / 'link').symlink_to('real')
    assert find_files(tmp_path / 'link', ['.png']) == ['x.png']


def test_what_is_left_out_is_said_once_and_can_be_printed(tmp_path, capsys):
    (tmp_path / 'a\nb\udcff').symlink_to('.')
    for _ in range(2):
        find_files(tmp_path)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f'left out {tmp_path}/a\\nb\\xff: it leads to ')


def test_a_file_in_another_normal_form(tmp_path):
    composed, apart = 'caf\u00e9.jpg', 'cafe\u0301.jpg'
    assert same_file(tmp_path / composed) == tmp_path / composed
    _touch(tmp_path, apart)
    assert same_file(tmp_path / composed) == tmp_path / apart
    _touch(tmp_path, composed)
    assert same_file(tmp_path / composed) == tmp_path / composed
    for name in ('\u1ecd\u0302', 'o\u0302\u0323'):
        _touch(tmp_path, name)
    either = tmp_path / 'o\u0323\u0302'
    assert same_file(either) == either  # two look like it


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


def test_text_of_a_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_bytes(b'\xef\xbb\xbfa\r\n')
    assert read_text(path) == 'a\r\n'
    path.write_bytes(b'\xe9')
    with pytest.raises(ValueError, match=rf'^{path} is not encoded as UTF-8'):
        read_text(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match=rf'^{path} is a pipe; expected a file'):
        read_text(path)
