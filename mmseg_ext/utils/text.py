"""Texts of messages and tables, and names in them."""

import codecs
import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

__all__ = [
    'csv_text',
    'decode_text',
    'is_unicode',
    'listing',
    'normal_form',
    'printable',
    'unguarded',
]

#: A cell that a spreadsheet takes for a formula, or that begins with the
#: apostrophes that keep it from doing so. Source: OWASP, "CSV Injection".
_FORMULA = re.compile(
    r"'*([\s\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])"
)

#: Numbers begin with such signs as well, and are none.
_NUMBER = re.compile(r'[+-]?[0-9]+(\.[0-9]+)?')


def decode_text(data: bytes, name: str | os.PathLike[str]) -> str:
    """Return the content of a text file: UTF-8, with or without a BOM.

    Args:
        data: Content of the file.
        name: The file, for messages.

    Raises:
        ValueError: It is in another encoding.
    """
    # UTF-16 without a BOM is valid UTF-8, with NULs in it.
    if b'\0' in data or data.startswith(
        (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    ):
        raise ValueError(f'{name} is encoded as UTF-16: save it as UTF-8')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise ValueError(
            f'{name} is not encoded as UTF-8: byte '
            f'0x{data[error.start]:02x} in line {line}, as in cp1252 or '
            'another 8-bit encoding; save it as UTF-8'
        ) from None


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV, with a line feed after each.

    Cells that a spreadsheet would run as a formula get an apostrophe in
    front, which :func:`unguarded` takes away. Numbers stay as they are.
    """
    lines: list[str] = []
    # With this terminator the writer quotes what has either of its signs.
    end = '\r\n'
    writer = csv.writer(
        SimpleNamespace(write=lines.append), lineterminator=end
    )
    writer.writerows(map(_guarded, row) for row in rows)
    return ''.join(f'{line.removesuffix(end)}\n' for line in lines)


def _guarded(cell: object) -> object:
    if isinstance(cell, str) and not _NUMBER.fullmatch(cell):
        return f"'{cell}" if _FORMULA.match(cell) else cell
    return cell


def unguarded(cell: str) -> str:
    """Return a cell as it was before :func:`csv_text` guarded it."""
    guarded = cell.startswith("'") and _FORMULA.match(cell)
    return cell[1:] if guarded else cell


def listing(items: Sequence[object], limit: int = 5) -> str:
    """Return the first few items in words, and how many more there are.

    >>> listing('abcd', limit=2)
    'a, b and 2 more'
    """
    text = ', '.join(map(str, items[:limit]))
    more = len(items) - limit
    return f'{text} and {more} more' if more > 0 else text


def is_unicode(name: str) -> bool:
    """Tell names that text files can hold.

    Python reads the bytes of a file's name that are not UTF-8 as surrogates,
    which stand for nothing.
    """
    return not any('\ud800' <= sign <= '\udfff' for sign in name)


def normal_form(name: str) -> str:
    """Return a name as most systems write it, in Unicode's form NFC.

    Names that macOS wrote have accents as signs of their own: they look the
    same, and are others.
    """
    return unicodedata.normalize('NFC', name)


def printable(name: str | os.PathLike[str]) -> str:
    r"""Return a name in one line that every terminal and text file can hold.

    What cannot be seen is escaped: line breaks, bytes that are not UTF-8, and
    accents that are signs of their own where they usually are not.

    >>> printable('a\nb\udcff')
    'a\\nb\\xff'
    """
    text = os.fspath(name)
    usual = is_unicode(text) and text == normal_form(text)
    return ''.join(
        sign
        if sign.isprintable() and (usual or not unicodedata.combining(sign))
        else _escaped(sign)
        for sign in text
    )


def _escaped(sign: str) -> str:
    if '\udc80' <= sign <= '\udcff':  # a byte of a file's name
        return f'\\x{ord(sign) - 0xDC00:02x}'
    return sign.encode('unicode_escape').decode()
