"""Texts of messages and tables."""

import csv
import io
from collections.abc import Iterable, Sequence

__all__ = ['csv_text', 'listing']


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
