"""Names from an outside source, in pictures and Markdown."""

import html
import re

from mmseg_ext.utils.text import normal_form, printable

__all__ = ['as_markdown', 'one_line', 'shortened']

#: Characters of a name that a picture has room for.
_ROOM = 40

#: What Markdown takes for its own, an underscore only where it is not between
#: letters, and what links without brackets are known by.
_MARKDOWN = re.compile(r'[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])')
_LINK_SIGNS = re.compile(r':(?=//)|(?<=www)\.|@', re.IGNORECASE)


def one_line(name: str) -> str:
    """Return a name in one line, accents and letters in one."""
    return printable(normal_form(name))


def shortened(name: str) -> str:
    """Return a name in one line that leaves room for the rest of a picture."""
    text = one_line(name)
    return text if len(text) <= _ROOM else f'{text[: _ROOM - 1]}…'


def as_markdown(name: str) -> str:
    """Write a name so that Markdown shows it as it is, in one line."""
    text = _MARKDOWN.sub(r'\\\g<0>', one_line(name))
    text = html.escape(text, quote=False)
    return _LINK_SIGNS.sub(lambda sign: f'&#{ord(sign[0])};', text)
