import json

import pytest

from mmseg_ext.formats import json_rows
from mmseg_ext.formats.json_rows import iter_rows

ROWS = [
    {'token': 'a', 'name': 'Übung "]}', 'list': [1, {'x': None}]},
    {},
    {'token': '\u2713', 'number': 1.5e3, 'text': '{[\\' * 50},
]


@pytest.mark.parametrize('chunk', [1, 3, 17, 64, 1 << 20])
@pytest.mark.parametrize('indent', [None, 0, 2])
@pytest.mark.parametrize('ascii_only', [True, False])
def test_rows_and_their_places(
    tmp_path, monkeypatch, chunk, indent, ascii_only
):
    monkeypatch.setattr(json_rows, 'CHUNK', chunk)
    path = tmp_path / 'table.json'
    text = json.dumps(ROWS, indent=indent, ensure_ascii=ascii_only)
    path.write_text(f'\n {text}\n', encoding='utf-8')
    content, chunks = path.read_bytes(), []
    rows = list(iter_rows(path, chunks.append))
    assert [json.loads(row.raw) for row in rows] == ROWS
    for row in rows:
        stop = row.start + len(row.raw)
        assert content[row.start : stop] == row.raw
    assert b''.join(chunks) == content


def test_empty_list(tmp_path):
    path = tmp_path / 'table.json'
    path.write_text(' [ ]\n')
    assert list(iter_rows(path)) == []


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        pytest.param('', 'byte 0: expected .* the end of the file', id='none'),
        pytest.param('{"a": 1}', r'byte 0: expected \[', id='object'),
        pytest.param('[1, 2]', 'byte 1: expected a row', id='numbers'),
        pytest.param('[{"a": 1}', 'byte 9: .* end of the file', id='open'),
        pytest.param('[{"a": 1},]', 'byte 10: expected a row', id='comma'),
        pytest.param('[{"a": 1} {}]', 'byte 10: expected , or', id='no-comma'),
        pytest.param('[{"a": 1, "b', 'byte 1: .* ends in it', id='cut-off'),
        pytest.param('[{"a": }, {}]', 'byte 1: .* no JSON', id='no-value'),
        pytest.param('[{}] []', "byte 5: '\\['", id='more'),
    ],
)
def test_what_is_no_table(tmp_path, text, reason):
    path = tmp_path / 'table.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'table\.json: {reason}'):
        list(iter_rows(path))


def test_endless_row(tmp_path, monkeypatch):
    """A row without end does not pull the whole file into memory."""
    monkeypatch.setattr(json_rows, 'CHUNK', 100)
    monkeypatch.setattr(json_rows, '_LONGEST_ROW', 1000)
    path = tmp_path / 'table.json'
    path.write_text('[{"a": "' + 'x' * 10_000)
    chunks = []
    with pytest.raises(ValueError, match='byte 1: the row is no JSON'):
        list(iter_rows(path, chunks.append))
    assert sum(map(len, chunks)) < 2000


# Hostile tables.


@pytest.mark.parametrize('chunk', [1, 7, 1 << 20])
def test_mark_of_utf8_is_passed_over(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_rows, 'CHUNK', chunk)
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(ROWS), encoding='utf-8-sig')
    content, chunks = path.read_bytes(), []
    rows = list(iter_rows(path, chunks.append))
    assert [json.loads(row.raw) for row in rows] == ROWS
    for row in rows:
        stop = row.start + len(row.raw)
        assert content[row.start : stop] == row.raw
    assert b''.join(chunks) == content


def test_other_encoding(tmp_path):
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(ROWS), encoding='utf-16')
    with pytest.raises(ValueError, match=r'table\.json is encoded as UTF-16'):
        list(iter_rows(path))


@pytest.mark.parametrize('chunk', [1000, 1 << 20])
@pytest.mark.parametrize('depth', [1000, 10_000])
def test_rows_that_no_reader_decodes(tmp_path, monkeypatch, chunk, depth):
    """Who gets them can pass over them: where they end is found."""
    monkeypatch.setattr(json_rows, 'CHUNK', chunk)
    path = tmp_path / 'table.json'
    texts = [
        '{"a": "]}\\""}',
        '{"a": "}\\"", "b": ' + '[' * depth + ']' * depth + '}',
        '{"a": '
        + '{"b":' * depth
        + '"'
        + '}]\\"' * 999
        + '"'
        + '}' * depth
        + '}',
        '{"a": ' + '9' * 5000 + '}',
        '{"b": 2}',
    ]
    path.write_text(f'[{", ".join(texts)}]')
    found = [row.raw.decode() for row in iter_rows(path)]
    assert found == texts


def test_nested_row_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, 'CHUNK', 1000)
    path = tmp_path / 'table.json'
    path.write_text('[{"a": ' + '[' * 3000)
    with pytest.raises(ValueError, match='byte 1: the row is no JSON or the '):
        list(iter_rows(path))
