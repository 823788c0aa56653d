import csv
import hashlib
import importlib
import inspect
import json
import os
import runpy
import struct
from pathlib import Path

import pytest
from PIL import Image

from mmseg_ext.converters.core import (
    Invalid,
    InvalidInputError,
    Report,
    Skip,
    reading,
    run_jobs,
    seeded_order,
    write_split,
)

TOOLS = Path(__file__, '../../../tools/dataset_converters').resolve()


def square(job, scratch):
    """Return the square of a number; 3 and 7 are invalid, 9 is a fault."""
    if job in (3, 7):
        raise InvalidInputError(f'{job}.png', 'is no good')
    if job == 9:
        raise ZeroDivisionError
    return job * job


def note_scratch(job, scratch):
    """Say where one may write, and whether it is there."""
    return scratch, scratch.is_dir(), os.getpid()


# Jobs.


@pytest.mark.parametrize('nproc', [1, 2])
@pytest.mark.parametrize('batch', [1, 4, 100])
def test_results_are_in_order_and_errors_are_values(nproc, batch):
    results = list(
        run_jobs(square, range(9), nproc=nproc, batch=batch, total=9)
    )
    assert [job for job, _ in results] == list(range(9))
    for job, result in results:
        if job in (3, 7):
            assert isinstance(result, InvalidInputError)
            assert (result.file, result.reason) == (f'{job}.png', 'is no good')
        else:
            assert result == job * job


@pytest.mark.parametrize('nproc', [1, 2])
def test_faults_of_the_converter_are_no_invalid_input(nproc):
    with pytest.raises(ZeroDivisionError):
        list(run_jobs(square, [1, 9], nproc=nproc))


@pytest.mark.parametrize('nproc', [1, 2])
def test_each_batch_has_a_scratch_folder(tmp_path, nproc):
    results = list(
        run_jobs(
            note_scratch, range(6), nproc=nproc, scratch=tmp_path, batch=2
        )
    )
    folders = [folder for _, (folder, *_) in results]
    assert all(there for _, (_, there, _) in results)
    assert folders[0::2] == folders[1::2]
    assert len(set(folders)) == 3
    assert {folder.parent for folder in folders} == {tmp_path}
    assert all(folder.name.startswith('.') for folder in folders)
    assert list(tmp_path.iterdir()) == []


def test_jobs_are_taken_only_as_results_are():
    taken = []

    def jobs():
        for number in range(1000):
            taken.append(number)
            yield number * 10

    results = run_jobs(square, jobs(), batch=2)
    assert next(results) == (0, 0)
    assert len(taken) == 2


def test_progress_bar_can_be_turned_off(capsys):
    list(run_jobs(square, [1, 2], desc='work', unit=' things'))
    shown = capsys.readouterr().err
    assert 'work' in shown
    assert '2/2' in shown
    list(run_jobs(square, [1, 2], progress=False))
    assert capsys.readouterr().err == ''


def test_no_process(tmp_path):
    """It is said at once, before anything is made."""
    with pytest.raises(ValueError, match='nproc=0'):
        run_jobs(square, [1], nproc=0, scratch=tmp_path / 'new')
    assert list(tmp_path.iterdir()) == []


# Invalid input.


def test_first_invalid_file_stops():
    invalid = Invalid(skip=False)
    with pytest.raises(ValueError, match=r'3\.png: is no good; .*skip_inv'):
        list(invalid.sift(run_jobs(square, range(9), progress=False)))
    assert invalid.skips == []


def test_all_input_is_invalid():
    invalid = Invalid(skip=True)
    assert list(invalid.sift([])) == []
    invalid.check_left(0, 'input')  # there was none
    bad = [(n, InvalidInputError(f'{n}.png', 'is bad')) for n in range(5)]
    with pytest.raises(ValueError, match='no image of val is valid') as error:
        list(invalid.sift(bad, what='image of val'))
    assert str(error.value).endswith(
        'it: 0.png: is bad; 1.png: is bad; 2.png: is bad; and 2 more'
    )
    assert list(invalid.sift([*bad, (6, 36)])) == [(6, 36)]


def test_invalid_files_are_listed(tmp_path):
    invalid = Invalid(skip=True)
    jobs = [8, 7, 3, 2]
    good = list(invalid.sift(run_jobs(square, jobs, progress=False)))
    assert good == [(8, 64), (2, 4)]
    skips = invalid.write_list(tmp_path)
    assert skips == [Skip('3.png', 'is no good'), Skip('7.png', 'is no good')]
    assert json.loads((tmp_path / 'skipped.json').read_text()) == [
        {'file': '3.png', 'reason': 'is no good'},
        {'file': '7.png', 'reason': 'is no good'},
    ]


def test_no_list_of_an_earlier_run_stays(tmp_path):
    path = tmp_path / 'skipped.json'
    path.write_text('anything')
    Invalid(skip=True).write_list(tmp_path)
    assert json.loads(path.read_text()) == []
    Invalid(skip=False).write_list(tmp_path)
    assert not path.exists()
    Invalid(skip=False).write_list(tmp_path)


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (OSError('no such file'), 'no such file'),
        (ValueError('what it says'), 'what it says'),
        (ValueError(), 'ValueError'),
        (RecursionError('too deep'), 'RecursionError: too deep'),
        (struct.error('unpack'), 'error: unpack'),
        (csv.Error('field too long'), 'Error: field too long'),
        (Image.DecompressionBombError('big'), 'DecompressionBombError: big'),
    ],
    ids=lambda value: type(value).__name__ if value else None,
)
def test_what_libraries_raise_names_the_file(error, reason):
    with pytest.raises(InvalidInputError) as raised, reading('x', 'bad: '):
        raise error
    assert (raised.value.file, raised.value.reason) == ('x', f'bad: {reason}')


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
def test_who_stops_a_run_stops_it(error):
    with pytest.raises(error), reading('x'):
        raise error


def test_files_are_not_to_blame_for_short_memory():
    with pytest.raises(OSError, match='memory is') as raised, reading('x.png'):
        raise MemoryError
    assert 'short for x.png: use a smaller nproc' in str(raised.value)
    assert not isinstance(raised.value, InvalidInputError)


def test_what_is_named_already_keeps_its_name():
    with pytest.raises(InvalidInputError) as error, reading('outer.png'):
        raise InvalidInputError('inner.png', 'is wrong')
    assert (error.value.file, error.value.reason) == ('inner.png', 'is wrong')


# Order.


def test_seeded_order():
    def rank(name):
        return hashlib.sha256(f'5:{name}'.encode()).digest()

    names = [f'{number:03}' for number in range(50)]
    expected = sorted(names, key=rank)
    assert seeded_order(names, 5, str) == expected
    assert seeded_order(names[::-1], 5, str) == expected
    assert seeded_order(names, 6, str) != expected
    items = [(number, f'{number:03}') for number in range(50)]
    ordered = seeded_order(items, 5, lambda item: item[1])
    assert [name for _, name in ordered] == expected


def test_write_split(tmp_path):
    write_split(tmp_path / 'splits' / 'train.txt', ['a', 'b', 'c'], 1)
    lines = (tmp_path / 'splits' / 'train.txt').read_text()
    assert lines == ''.join(f'{x}\n' for x in seeded_order('abc', 1, str))


# The report.


def test_report_as_text():
    skips = [Skip(f'{number}.png', 'is bad') for number in range(12)]
    assert str(Report(Path('out'))) == ''
    lines = str(Report(Path('out'), skips[:1])).splitlines()
    assert lines == [
        'skipped 0.png: is bad',
        '1 invalid files skipped, see out/skipped.json',
    ]
    lines = str(Report(Path('out'), skips)).splitlines()
    assert len(lines) == 11
    assert lines[-1] == (
        '12 invalid files skipped, 2 of them not named here, see '
        'out/skipped.json'
    )


@pytest.mark.parametrize(
    'name', ['camvid', 'cityscapes', 'idd', 'labelme', 'nails', 'nuimages']
)
def test_options_are_the_same_in_all_converters(name):
    """Names and order of what converters share, in Python and in tools."""
    convert = importlib.import_module(f'mmseg_ext.converters.{name}').convert
    parameters = inspect.signature(convert).parameters.values()
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    first = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    tool = runpy.run_path(str(TOOLS / f'{name}.py'))['build_parser']()
    dests = [action.dest for action in tool._actions]
    assert first in (['data_root', 'out_dir'], ['data_roots', 'out_dir'])
    shared = ['seed', 'nproc', 'overwrite', 'skip_invalid', 'progress']
    has = [option for option in options if option in shared]
    assert has == [option for option in shared if option in has]
    assert options[-len(has) :] == has
    assert {'nproc', 'skip_invalid', 'progress'} <= set(has)
    dests = [dest for dest in dests if dest not in ('help', 'named_root')]
    assert dests == [*first, *options]
