"""Who imports whom: from the floor up, never back down, and in no circle."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mmseg_ext
import mmseg_ext_cli

PACKAGE = Path(mmseg_ext.__file__).parent

#: What is plain: data, files, formats. It registers nothing.
PLAIN = {'labels', 'utils', 'formats'}

#: What each part of the package may import of it, beside itself.
ALLOWED = {
    'environment': set(),
    'unpickling': set(),
    'checkpoint': {'unpickling', 'utils'},
    'registry': {'environment'},
    'labels': set(),
    'utils': set(),
    'formats': {'labels', 'utils'},
    'converters': PLAIN,
    'sample_data': PLAIN,
    'datasets': PLAIN | {'environment'},
    'models': PLAIN | {'environment'},
    'evaluation': PLAIN,
    'visualization': PLAIN,
    'engine': PLAIN | {'visualization'},
    'launch': PLAIN
    | {'checkpoint', 'engine', 'environment', 'evaluation', 'registry'},
    'inference': PLAIN
    | {'checkpoint', 'launch', 'models', 'registry', 'visualization'},
    'doctor': PLAIN
    | {'engine', 'environment', 'evaluation', 'launch', 'registry'}
    | {'visualization'},
    'planning': PLAIN
    | {'converters', 'doctor', 'environment', 'launch', 'registry'}
    | {'visualization'},
    'report': PLAIN
    | {'engine', 'environment', 'evaluation', 'launch', 'registry'}
    | {'visualization'},
}

#: Parts without registered classes; of evaluation, only its functions.
UNREGISTERED = [
    *('labels', 'utils', 'formats', 'converters', 'sample_data'),
    *('visualization', 'inference', 'launch', 'doctor', 'planning'),
    'report',
    'evaluation/functional.py',
]


def name_of(path):
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


FILES = {
    name_of(path): path
    for path in sorted(PACKAGE.rglob('*.py'))
    if '.mim' not in path.parts
}


def imports_of(path):
    """Return the modules of the package that a file imports, anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path} imports relatively'
            for alias in node.names:
                name = f'{node.module}.{alias.name}'
                found.add(name if name in FILES else node.module)
    return {name for name in found if name in FILES}


IMPORTS = {name: imports_of(path) for name, path in FILES.items()}


def part_of(name):
    """Return the part of the package; '' for its root."""
    return name.partition('.')[2].partition('.')[0]


def test_all_parts_have_a_place():
    parts = {part_of(name) for name in FILES} - {''}
    assert parts == set(ALLOWED)


@pytest.mark.parametrize('part', ALLOWED)
def test_parts_import_what_is_below_them(part):
    wrong = [
        f'{name} imports {other}'
        for name, others in IMPORTS.items()
        for other in others
        if part_of(name) == part
        and part_of(other) not in ALLOWED[part] | {part}
    ]
    assert wrong == []


def test_pure_functions_need_nothing():
    assert IMPORTS['mmseg_ext.evaluation.functional'] == set()


def test_no_circle():
    """An ``__init__`` stands for its folder: only its own imports count."""
    inner = {
        name: {
            other
            for other in others
            if not name.startswith(f'{other}.') and other != 'mmseg_ext'
        }
        for name, others in IMPORTS.items()
        if name != 'mmseg_ext'
    }
    TopologicalSorter(inner).prepare()


def test_registered_files_have_one_class_each():
    for name, path in FILES.items():
        assert path.read_text().count('.register_module(') <= 1, name


@pytest.mark.parametrize('part', UNREGISTERED)
def test_nothing_is_registered_below(part):
    files = [
        path for path in FILES.values() if path.is_relative_to(PACKAGE / part)
    ]
    assert files
    for path in files:
        assert 'register_module' not in path.read_text(), path


def test_models_register_no_hooks():
    """Nor do data sets and metrics: hooks are in no part that they import."""
    for start in ('datasets', 'models', 'evaluation', 'converters'):
        seen, todo = set(), {n for n in FILES if part_of(n) == start}
        while todo:
            seen |= todo
            todo = set().union(*(IMPORTS[name] for name in todo)) - seen
        assert not {name for name in seen if part_of(name) == 'engine'}


def test_the_front_imports_the_standard_library_alone():
    """What the package knows it reads, or imports when it is called."""
    tree = ast.parse(Path(mmseg_ext_cli.__file__).read_bytes())
    modules = {
        name.partition('.')[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
        )
    }
    assert modules <= sys.stdlib_module_names


def test_the_package_imports_no_tools():
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom):
                top = node.module.partition('.')[0]
                assert top not in ('tools', 'benchmarks', 'tests'), name
