"""Each code has a test that plants it, and a row in docs/doctor.md.

``python tests/test_doctor/test_codes.py`` writes the rows from the source
tree.
"""

import ast
import difflib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'doctor.md'
COMMAND = 'python tests/test_doctor/test_codes.py'
BEGIN, END = '<!-- codes -->\n', '<!-- end of codes -->\n'

if __name__ == '__main__':  # the source tree, not what is installed
    sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]

from mmseg_ext.doctor.checks import (  # noqa: E402
    CHECKS,
    all_codes,
)
from mmseg_ext.doctor.findings import (  # noqa: E402
    Code,
    Level,
    check,
    codes_of,
)


def table():
    """Return the rows of all codes, the worst first within an area."""
    lines = ['| Code | Level | What it causes | What mends it |', '|-|-|-|-|']
    for code in sorted(all_codes().values(), key=lambda code: -code.level):
        cells = (f'`{code.name}`', code.level.word, code.symptom, code.mend)
        lines.append(
            f'| {" | ".join(text.replace("|", "&#124;") for text in cells)} |'
        )
    return ''.join(f'{line}\n' for line in lines)


def test_page_has_all_codes():
    text = PAGE.read_text()
    found = text.partition(BEGIN)[2].partition(END)[0]
    changes = difflib.unified_diff(
        found.splitlines(), table().splitlines(), lineterm=''
    )
    assert list(changes) == [], f'run {COMMAND}'


def planted():
    """Return the codes of all marks ``@plants('code', ...)``, read as text."""
    found = set()
    for path in sorted(Path(__file__).parent.glob('test_*.py')):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Call(func=ast.Name(id='plants'), args=args):
                    found.update(map(ast.literal_eval, args))
    return found


def test_each_code_is_planted():
    assert set(all_codes()) - planted() == set()
    assert planted() - set(all_codes()) == set()


def test_codes_are_of_one_check_each():
    """But for those that more than one may find, which are the same object."""
    seen = {}
    for function in CHECKS:
        for code in codes_of(function):
            assert seen.setdefault(code.name, code) is code


def test_codes_say_something():
    for code in all_codes().values():
        for text in (code.symptom, code.mend):
            assert text == ' '.join(text.split()) != ''
            assert not text.endswith('.')


def test_bad_names_are_refused():
    for name in ('Label', 'label_missing', '-x', ''):
        with pytest.raises(ValueError, match='lower case'):
            check(Code(name, Level.NOTE, 'a', 'b'))


def test_unmarked_function_is_refused():
    with pytest.raises(TypeError, match='is no check'):
        codes_of(print)


if __name__ == '__main__':
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
    print(PAGE)
