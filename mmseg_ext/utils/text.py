"""Texts of messages and tables."""

import codecs
import csv
import io
import os
from collections.abc import Iterable, Sequence

__all__ = ['csv_text', 'decode_text', 'listing']


def decode_text(data: bytes, name: str | os.PathLike[str]) -> str:
    """Return the content of a text file: UTF-8, with or without a BOM.

    Args:
        data: Content of the file.
        name: The file, for messages.

    Raises:
        ValueError: It is in another encoding.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
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
    """Return rows as CSV, with a line feed after each."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def listing(items: Sequence[object], limit: int = 5) -> str:
    """Return the first few items in words, and how many more there are.

    >>> listing('abcd', limit=2)
    'a, b and 2 more'
    """
    text = ', '.join(map(str, items[:limit]))
    more = len(items) - limit
    return f'{text} and {more} more' if more > 0 else text
