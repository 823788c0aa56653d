"""Damaged and hostile files, made of good ones."""

import io
import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ['FORMATS', 'misplace', 'mutate']

#: What stands in for a value in JSON, as text: types, sizes, depths, forms.
_JSON_VALUES = (
    *('null', 'true', '[]', '{}', '""', '0', '-1', '1.5', '-0.0', '1e5'),
    *('NaN', 'Infinity', '1e999', '-1e5', '65536', '2147483648'),
    *('9223372036854775808', '-9223372036854775809', '[[]]', '[null]'),
    *('"../../x"', '"/etc/passwd"', '"a\\u0000b"', '"\\ud800"', '"a\\nb"'),
    *('"=cmd()"', '"<script>"', '"1"', '"1e400"', '1000000000'),
    *('1' * 400, '1' * 5000, '"' + 'x' * 300 + '"'),
    *('[' * 1000 + ']' * 1000, '[' * 100_000 + ']' * 100_000),
    *('{"a":' * 1000 + '1' + '}' * 1000, '[' + '1,' * 100_000 + '1]'),
)

_HOSTILE = '@hostile@'

_LINES = (
    *(b'', b'\xff\xfe', b'\xe4\xf6.png', b'../../x', b'/etc/passwd', b'"'),
    *(b'a,b,c,d,e', b'a,1,2,999', b'a,-1,0,0', b'a,1e3,0,0', b'=x,1,2,3'),
    *(b'\x00', b'x' * 200_000, b'"a\nb",1,2,3', b'a,' + b'1' * 5000 + b',0,0'),
)

_SIZES = (0, 1, 2, 25_000, 60_000, 65_536, 2**31 - 1, 2**31, 2**32 - 1)


def mutate(rng: random.Random, data: bytes, form: str) -> bytes:
    """Return a file that is damaged as its format can be.

    Args:
        rng: Decides on everything.
        data: A good file.
        form: Of :data:`FORMATS`.
    """
    own = FORMATS[form]
    if own is not None and rng.random() < 0.7:
        data = own(rng, data)
        if rng.random() < 0.8:
            return data
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        data = _damage(rng, data)
    return data


def _damage(rng: random.Random, data: bytes) -> bytes:
    """Change some bytes, whatever they mean."""
    start = rng.randrange(len(data) + 1)
    stop = min(len(data), start + rng.choice([1, 1, 2, 4, 16, 256, 4096]))
    part = data[start:stop]
    return rng.choice(
        [
            lambda: data[:start],
            lambda: data[:start] + data[stop:],
            lambda: data[:start] + part + part + data[stop:],
            lambda: data[:start] + rng.randbytes(len(part)) + data[stop:],
            lambda: data[:start] + bytes(len(part)) + data[stop:],
            lambda: data[:start] + b'\xff' * len(part) + data[stop:],
            lambda: data[:start] + rng.randbytes(rng.randrange(40)) + part,
            lambda: _flip(rng, data),
            lambda: b'',
            lambda: b'\xef\xbb\xbf' + data,
            lambda: data.decode('latin-1').encode('utf-16'),
            lambda: data + data,
        ]
    )()


def _flip(rng: random.Random, data: bytes) -> bytes:
    """Flip some bits."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _json(rng: random.Random, data: bytes) -> bytes:
    """Put something else in the place of some value."""
    content = json.loads(data)
    place = _places(content)
    holder, key = rng.choice(place)
    way = rng.randrange(4)
    if way == 0:
        if isinstance(holder, dict):
            del holder[key]
        else:
            holder.pop(key)
        return json.dumps(content).encode()
    if way == 1:  # from elsewhere in the file
        other, name = rng.choice(place)
        holder[key] = json.loads(json.dumps(other[name]))
        return json.dumps(content).encode()
    holder[key] = _HOSTILE
    text = json.dumps(content)
    value = rng.choice(_JSON_VALUES)
    return text.replace(f'"{_HOSTILE}"', value).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """List all values in JSON as holder and key."""
    found: list[tuple[Any, Any]] = []
    todo = [content]
    while todo and len(found) < 5000:
        holder = todo.pop()
        if isinstance(holder, dict):
            inner = list(holder.items())
        else:
            inner = list(enumerate(holder))
        for key, value in inner:
            found.append((holder, key))
            if isinstance(value, (dict, list)):
                todo.append(value)
    return found or [([content], 0)]


def _json_lines(rng: random.Random, data: bytes) -> bytes:
    """Change one of the lines of JSON."""
    lines = data.splitlines()
    number = rng.randrange(len(lines))
    lines[number] = _json(rng, lines[number])
    return b'\n'.join(lines) + b'\n'


def _text(rng: random.Random, data: bytes) -> bytes:
    """Change, add or repeat a line."""
    lines = data.splitlines()
    place = rng.randrange(len(lines))
    line = rng.choice([*_LINES, lines[place], rng.choice(lines)])
    lines[place : place + rng.randrange(2)] = [line]
    return rng.choice([b'\n', b'\r\n']).join(lines)


def _png(rng: random.Random, data: bytes) -> bytes:
    """Change a chunk, with the right check sum."""
    chunks = _chunks(data)
    if not chunks:
        return data
    number = rng.randrange(len(chunks))
    way = rng.randrange(5)
    if way == 0:
        del chunks[number]
    elif way == 1:
        chunks.insert(number, chunks[number])
    elif way == 2:
        kind, content = chunks[0]
        sides = [rng.choice([*_SIZES, 96, 128]) for _ in range(2)]
        rest = rng.choice([content[8:], rng.randbytes(5)])
        chunks[0] = kind, struct.pack('>II', *sides) + rest
    elif way == 3:
        pixels = rng.randbytes(rng.randrange(10_000))
        bomb = rng.random() < 0.2
        pixels = bytes(300_000_000) if bomb else pixels
        chunks[number] = b'IDAT', zlib.compress(pixels, 1)
    else:
        kind = rng.choice([b'tEXt', b'zTXt', b'iCCP', b'PLTE', b'tRNS'])
        chunks.insert(1, (kind, rng.randbytes(rng.randrange(2000))))
    written = data[:8] + b''.join(_chunk(*chunk) for chunk in chunks)
    if rng.random() < 0.1:  # a chunk that claims to be longer than the file
        start = rng.randrange(8, len(written))
        size = struct.pack('>I', rng.choice(_SIZES))
        written = written[:start] + size + rng.choice([b'IDAT', b'tEXt'])
    return written


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place + 8 <= len(data):
        (size,) = struct.unpack_from('>I', data, place)
        kind = data[place + 4 : place + 8]
        found.append((kind, data[place + 8 : place + 8 + size]))
        place += size + 12
    return found


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return (
        struct.pack('>I', len(content))
        + kind
        + content
        + struct.pack('>I', check)
    )


#: Pickles that call something, or make something that is no plain value.
_PICKLES = (
    b"cos\nsystem\n(S'touch called'\ntR.",
    b"c__builtin__\neval\n(S'1'\ntR.",
    b"cnumpy\nndarray\n((I1\ntS'O'\nC\x08AAAAAAAAtR.",
    b'(lp0\n0.',
    b'N.',
    b'(dp0\n.',
    b'}(K\x01K\x02u.',
    b'(' * 100_000 + b'.',
)


def _checkpoint(rng: random.Random, data: bytes) -> bytes:
    """Change the pickle in a checkpoint, with the right check sums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (pickle,) = (name for name in files if name.endswith('/data.pkl'))
    name = rng.choice([pickle, pickle, pickle, *files])
    if name == pickle and rng.random() < 0.3:
        files[name] = rng.choice(_PICKLES)
    elif name == pickle and rng.random() < 0.3:
        whole = files[name]
        inner = rng.choice(_PICKLES)[:-1]
        place = rng.randrange(2, len(whole))
        files[name] = whole[:place] + inner + whole[place:]
    else:
        files[name] = _damage(rng, files[name])
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, 'w') as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return buffer.getvalue()


#: How files of each format are changed beside their bytes.
FORMATS: dict[str, Callable[[random.Random, bytes], bytes] | None] = {
    'bytes': None,
    'png': _png,
    'json': _json,
    'json lines': _json_lines,
    'text': _text,
    'checkpoint': _checkpoint,
}


def misplace(rng: random.Random, path: Path) -> str:
    """Put something that is no file in the place of one; say what."""
    path.unlink()
    what = rng.choice(['nothing', 'folder', 'dangling', 'loop', 'pipe'])
    if what == 'folder':
        path.mkdir()
    elif what == 'dangling':
        path.symlink_to('nowhere')
    elif what == 'loop':
        path.symlink_to(path.name)
    elif what == 'pipe':
        os.mkfifo(path)
    return what
