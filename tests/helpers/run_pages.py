"""Pages of runs, read as a browser would."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image


class Page(HTMLParser):
    """The tables and pictures of a page."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.figures, self.ids = [], [], []
        self._cell = None
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs:
            self.ids.append(attrs['id'])
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self._cell = ''
        elif tag == 'figure':
            self.figures.append(
                {'id': attrs.get('id'), 'images': [], 'text': ''}
            )
        elif tag == 'img':
            self.figures[-1]['images'].append((attrs['alt'], attrs['src']))

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self.tables[-1][-1].append(self._cell.strip())
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data
        if self.figures:
            self.figures[-1]['text'] += data

    def table(self, *heads):
        """Return the rows of the first table with such heads."""
        return next(
            rows[1:] for rows in self.tables if set(heads) <= {*rows[0]}
        )


def decode(uri):
    """Return a picture, RGB, as Pillow reads it."""
    data = re.fullmatch(r'data:image/webp;base64,(.+)', uri)[1]
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    return np.array(image.convert('RGB')).astype(int)
