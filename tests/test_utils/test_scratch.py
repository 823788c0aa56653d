import multiprocessing
import os

import pytest

from mmseg_ext.utils.scratch import LOCK, working_in

#: Other start methods import the package, which takes seconds.
FORK = multiprocessing.get_context('fork')


def work(folder, name, pipe):
    """Leave hidden files in a folder, say what was there, and wait."""
    with working_in(folder):
        found = hidden(folder)
        (folder / 'deep').mkdir(exist_ok=True)
        (folder / 'deep' / f'.mmseg_ext-{name}.png').touch()
        (folder / f'.mmseg_ext-{name}').mkdir()
        (folder / f'.mmseg_ext-{name}' / 'x.png').touch()
        pipe.send(found)
        pipe.recv()


class Run:
    """Another process that is at work in a folder."""

    def __init__(self, folder, name):
        self.pipe, other = FORK.Pipe()
        self.process = FORK.Process(target=work, args=(folder, name, other))
        self.process.start()
        self.found = self.pipe.recv()

    def kill(self):
        self.process.kill()
        self.process.join()

    def end(self):
        self.pipe.send(None)
        self.process.join()
        assert self.process.exitcode == 0


def hidden(folder):
    names = (path.name for path in folder.rglob('.*'))
    return sorted(name for name in names if name != LOCK)


def left_by(name):
    return [f'.mmseg_ext-{name}', f'.mmseg_ext-{name}.png']


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    (tmp_path / '.hidden').touch()
    (tmp_path / 'x.mmseg_ext-1').touch()
    Run(tmp_path, 'a').kill()
    assert hidden(tmp_path) == ['.hidden', *left_by('a')]
    with working_in(tmp_path):
        assert hidden(tmp_path) == ['.hidden']
    # Nor does the lock stay.
    assert sorted(os.listdir(tmp_path)) == ['.hidden', 'deep', 'x.mmseg_ext-1']


def test_what_another_run_needs_stays(tmp_path):
    Run(tmp_path, 'killed').kill()
    other = Run(tmp_path, 'a')
    assert other.found == []
    with working_in(tmp_path):
        assert hidden(tmp_path) == left_by('a')
    assert hidden(tmp_path) == left_by('a')
    assert (tmp_path / LOCK).exists()
    other.kill()
    with working_in(tmp_path):
        assert hidden(tmp_path) == []
    assert os.listdir(tmp_path) == ['deep']


def test_the_last_of_several_removes_what_killed_ones_left(tmp_path):
    one, other = Run(tmp_path, 'a'), Run(tmp_path, 'b')
    assert other.found == left_by('a')
    one.kill()
    with working_in(tmp_path):
        assert hidden(tmp_path) == sorted(left_by('a') + left_by('b'))
    other.end()
    assert os.listdir(tmp_path) == ['deep']


def test_what_a_failed_run_left_is_removed_at_its_end(tmp_path):
    def fail():
        with working_in(tmp_path / 'new'):
            (tmp_path / 'new' / '.mmseg_ext-1.png').touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('fcntl.flock', unsupported)
    with working_in(tmp_path):
        (tmp_path / '.mmseg_ext-1.png').touch()
    with working_in(tmp_path):
        assert hidden(tmp_path) == ['.mmseg_ext-1.png']
    assert os.listdir(tmp_path) == ['.mmseg_ext-1.png']
