import csv
import io

import pytest

from mmseg_ext.utils.text import (
    csv_text,
    decode_text,
    is_unicode,
    listing,
    normal_form,
    printable,
    unguarded,
)


def test_csv():
    rows = [('name', 'score'), ('a, b', 0.5), ('"c"', None)]
    assert csv_text(rows) == 'name,score\n"a, b",0.5\n"""c""",\n'
    assert csv_text([]) == ''


@pytest.mark.parametrize(
    ('cell', 'written'),
    [
        pytest.param(' =1', "' =1", id='after a blank'),
        pytest.param('\ufeff=1', "'\ufeff=1", id='after a BOM'),
        pytest.param('\uff1d1', "'\uff1d1", id='full width'),
        pytest.param('=cmd|"/C calc"!A0', '"\'=cmd|""/C calc""!A0"', id='='),
        pytest.param('+1+2', "'+1+2", id='+'),
        pytest.param('-2+3', "'-2+3", id='-'),
        pytest.param('@SUM(A1)', "'@SUM(A1)", id='@'),
        pytest.param('\t=1', "'\t=1", id='tab'),
        pytest.param('\r=1', '"\'\r=1"', id='CR'),
        pytest.param('\n=1', '"\'\n=1"', id='LF'),
        pytest.param("'=1", "''=1", id='guarded before'),
        pytest.param("'t Hooft", "'t Hooft", id='apostrophe'),
        pytest.param('a=b', 'a=b', id='inside'),
        pytest.param('-12.50', '-12.50', id='number in words'),
        pytest.param('a\rb', '"a\rb"', id='CR inside'),
        pytest.param('a\nb', '"a\nb"', id='LF inside'),
    ],
)
def test_no_cell_is_a_formula(cell, written):
    text = csv_text([(cell, 1)])
    assert text == f'{written},1\n'
    [[read, one]] = csv.reader(io.StringIO(text, newline=''))
    assert (unguarded(read), one) == (cell, '1')


def test_numbers_in_cells_stay(tmp_path):
    assert csv_text([(-1, -0.5, 1e-300, None)]) == '-1,-0.5,1e-300,\n'


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_text_in_utf8(encoding):
    assert decode_text('Straße\n'.encode(encoding), 'a.csv') == 'Straße\n'


@pytest.mark.parametrize(
    ('encoding', 'reason'),
    [
        pytest.param('utf-16', 'encoded as UTF-16: save', id='UTF-16'),
        pytest.param('utf-16-le', 'encoded as UTF-16: save', id='no BOM'),
        pytest.param(
            'cp1252', 'byte 0xdf in line 2, as in cp1252', id='8 bit'
        ),
    ],
)
def test_text_in_another_encoding(encoding, reason):
    with pytest.raises(ValueError, match=rf'^a\.csv is .*{reason}'):
        decode_text('name\nStraße\n'.encode(encoding), 'a.csv')


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        pytest.param('Straße 手', 'Straße 手', id='usual'),
        pytest.param('a\r\n\x1b[1m', r'a\r\n\x1b[1m', id='control'),
        pytest.param('\udcca\udcd6\u05b8', r'\xca\xd6\u05b8', id='GBK'),
        pytest.param('\ud800', r'\ud800', id='surrogate'),
        pytest.param('caf\u00e9', 'café', id='NFC'),
        pytest.param('cafe\u0301', r'cafe\u0301', id='NFD'),
        pytest.param('हिन्दी', 'हिन्दी', id='Hindi'),
    ],
)
def test_names_in_messages(name, shown):
    assert printable(name) == shown
    printable(name).encode()


def test_names_that_text_files_can_hold():
    assert is_unicode('Straße\n手')
    assert not is_unicode('a\udcff')
    assert normal_form('cafe\u0301') == 'caf\u00e9'


@pytest.mark.parametrize(
    ('number', 'expected'),
    [
        pytest.param(0, '', id='none'),
        pytest.param(2, '0, 1', id='few'),
        pytest.param(3, '0, 1, 2', id='as many as are named'),
        pytest.param(5, '0, 1, 2 and 2 more', id='more'),
    ],
)
def test_listing(number, expected):
    assert listing(range(number), limit=3) == expected
