"""What is public says so, and docs/api.md lists it.

``python tests/test_api.py`` writes the page from the source tree.
"""

import ast
import difflib
import re
import sys
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from helpers.modules import import_modules

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'api.md'
COMMAND = 'python tests/test_api.py'

HEAD = f"""\
# API

What is public: the names in `__all__` of each module, with the first sentence
of what the code says about them. `{COMMAND}` writes this page.
"""


if __name__ == '__main__':  # the source tree, not what is installed
    sys.path.insert(0, str(ROOT))

MODULES = import_modules()
PACKAGES = [name for name in MODULES if hasattr(MODULES[name], '__path__')]


@cache
def parse(name):
    return ast.parse(Path(MODULES[name].__file__).read_bytes())


@cache
def texts(name):
    """Return what a module says about each name that it defines.

    The docstring of a function or class, the ``#:`` comment above a constant,
    or None.
    """
    lines = Path(MODULES[name].__file__).read_text().splitlines()
    found = {}
    for node in parse(name).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                found[node.name] = ast.get_docstring(node)
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                comment = comment_above(lines[: node.lineno - 1])
                parts = getattr(target, 'elts', [target])
                found |= {
                    part.id: comment
                    for part in parts
                    if isinstance(part, ast.Name)
                }
    return found


def comment_above(lines):
    """Return the ``#:`` comment that ends a list of lines, or None."""
    comment = takewhile(lambda line: line.startswith('#:'), reversed(lines))
    return ' '.join(line[2:].strip() for line in [*comment][::-1]) or None


def has_only_a_docstring(name):
    """Tell packages that are no more than a folder."""
    return name in PACKAGES and len(parse(name).body) == 1


# The page.


def sentence(text):
    """Return the first sentence of a docstring or comment in Markdown."""
    first = ' '.join((text or '').partition('\n\n')[0].split())
    first = re.split(r'(?<=[^.]{2}\.) ', first)[0]
    first = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'`\1`', first)
    return first.replace('``', '`')


def listed(pairs):
    """Return a line for each sentence and the names that it is about."""
    names = {}
    for name, text in sorted(pairs, key=lambda pair: pair[0].lower()):
        names.setdefault(sentence(text), []).append(f'`{name}`')
    return '\n'.join(
        f'- {", ".join(names)}: {text}' for text, names in names.items()
    )


def defined(module):
    """Yield the public names that a module defines, with their texts."""
    for name in getattr(MODULES[module], '__all__', ()):
        if name in texts(module):
            yield name, texts(module)[name]


def blocks(module):
    """Yield the parts of the page about a module."""
    text = sentence(ast.get_docstring(parse(module)))
    if '.' not in module or module in PACKAGES:
        yield f'## {module}'
        yield text
    else:
        yield f'**{module.rpartition(".")[2]}**: {text}'
    if module == 'mmseg_ext':
        package = MODULES[module]
        classes = [getattr(package, name) for name in package.__all__]
        yield listed(
            (c.__name__, texts(c.__module__)[c.__name__]) for c in classes
        )
    elif module in PACKAGES and hasattr(MODULES[module], '__all__'):
        names = sorted(MODULES[module].__all__, key=str.lower)
        yield 'From its modules: ' + ', '.join(f'`{n}`' for n in names) + '.'
    elif module not in PACKAGES:
        yield listed(defined(module))


def place(module):
    """Return a key that puts the modules of a package after it."""
    if '.' not in module or module in PACKAGES:
        return module, ''
    package, _, name = module.rpartition('.')
    return package, name


def page():
    """Return the text of docs/api.md."""
    found = [b for name in sorted(MODULES, key=place) for b in blocks(name)]
    return '\n\n'.join([HEAD.strip(), *found]) + '\n'


def test_page():
    old = PAGE.read_text().splitlines() if PAGE.exists() else []
    diff = difflib.unified_diff(old, page().splitlines(), n=0, lineterm='')
    changes = '\n'.join(list(diff)[2:])
    if changes:
        pytest.fail(f'docs/api.md: run {COMMAND}\n{changes}', pytrace=False)


# The code.


@pytest.mark.parametrize('name', MODULES)
def test_all(name):
    module = MODULES[name]
    if has_only_a_docstring(name):
        return
    exported = getattr(module, '__all__', None)
    assert exported is not None, f'{name} has no __all__'
    assert len(set(exported)) == len(exported)
    for own in exported:
        assert hasattr(module, own), f'{name}.__all__ names {own}'
        if name in PACKAGES:  # from a module of the package, or its own
            continue
        assert own in texts(name), f'{name}.{own} is defined elsewhere'
        assert texts(name)[own], f'{name}.{own} has no docstring or comment'


@pytest.mark.parametrize('name', MODULES)
def test_functions_and_classes_are_public_or_private(name):
    kinds = ast.ClassDef | ast.FunctionDef
    defined = {n.name for n in parse(name).body if isinstance(n, kinds)}
    exported = set(getattr(MODULES[name], '__all__', ()))
    assert {n for n in defined if not n.startswith('_')} <= exported


@pytest.mark.parametrize('name', MODULES)
def test_private_names_are_used_by_their_module_only(name):
    ours, used = set(), []
    for node in ast.walk(parse(name)):
        match node:
            case ast.ImportFrom(module=str(source), names=names):
                if source.split('.')[0] in ('mmseg_ext', 'mmseg_ext_cli'):
                    ours |= {alias.asname or alias.name for alias in names}
                    used += [
                        f'{source}.{alias.name}'
                        for alias in names
                        if alias.name.startswith('_')
                    ]
    for node in ast.walk(parse(name)):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                private = re.match(r'_(?!_)', attribute)
                if owner in ours and private:
                    used.append(f'{owner}.{attribute}')
    assert not used


@pytest.mark.parametrize('name', MODULES)
def test_docstrings_begin_with_verbs_of_the_field(name):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(parse(name)):
        if isinstance(node, kinds):
            text = ast.get_docstring(node) or ''
            assert not re.match(r'Gives?\b', text), text.splitlines()[0]


if __name__ == '__main__':
    PAGE.write_text(page())
    print(PAGE)
