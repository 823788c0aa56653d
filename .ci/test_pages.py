"""Walk the task pages as a new user does, with nothing but a wheel.

pytest .ci/test_pages.py

Builds the wheel, installs it into a fresh environment, beside the packages of
the one that runs this, and pastes each page, unadapted, into an empty folder:

- a ``bash`` block is run; all its commands have to succeed;
- a ``python`` block below "Save as `NAME`:" is written to that file;
- any other ``python`` block is run;
- what follows ``<!-- not run: REASON -->`` is left out.
"""

import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    'start_here',
    'own_data',
    'config_by_hand',
    'doctor',
    'change_things',
    'look_at_results',
    'distributed',
    'when_it_fails',
]

#: Scripts of packages that pages call; they start their environment's Python.
SCRIPTS = ('mim', 'torchrun')

#: Lines that a training may print, beside the table of classes and bars: a
#: screen before the first step, another for steps and where all lies.
LINES = 60

#: In seconds, for a block; such as a busy machine takes.
PATIENCE = 600


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        line: Where its text begins in the page, from 1.
        language: Behind the opening fence.
        text: What it holds.
        target: The file that a reader saves it as, or None.
        skipped: Why it is not run, or None.
    """

    line: int
    language: str
    text: str
    target: str | None
    skipped: str | None


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in Markdown."""
    fences = re.finditer(r'^```(\w*)\n(.*?)^```$', page, re.M | re.S)
    for fence in fences:
        *_, before = page[: fence.start()].rstrip('\n').rpartition('\n\n')
        target = re.search(r'Save\sas\s`([^`]+)`:', before)
        skipped = re.search(r'<!-- not run: (.+?) -->$', before, re.S)
        yield Block(
            page.count('\n', 0, fence.start(2)) + 1,
            fence[1],
            fence[2],
            target and target[1],
            skipped and skipped[1],
        )


@pytest.fixture(scope='session')
def environment(tmp_path_factory):
    """Return the variables of a fresh environment with the wheel alone."""
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [
            *(sys.executable, '-m', 'build', '--wheel'),
            *('--outdir', folder, ROOT),
        ],
        check=True,
    )
    (wheel,) = folder.glob('*.whl')
    prefix = folder / 'env'
    venv.create(prefix)
    python = prefix / 'bin' / 'python'
    subprocess.run(
        [
            *(sys.executable, '-m', 'pip', '--python', python),
            *('install', '--quiet', '--no-deps', '--no-index', wheel),
        ],
        check=True,
    )
    (site,) = prefix.glob('lib/*/site-packages')
    packages = next(p for p in sys.path if p.endswith('site-packages'))
    (site / 'others.pth').write_text(f'{packages}\n')
    for name in SCRIPTS:
        text = (Path(sys.executable).parent / name).read_text()
        script = prefix / 'bin' / name
        script.write_text(f'#!{python}\n' + text.partition('\n')[2])
        script.chmod(0o755)
    path = f'{python.parent}{os.pathsep}{os.environ["PATH"]}'
    kept = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    return {**kept, 'PATH': path}


def test_the_package_is_that_of_the_wheel(environment, tmp_path):
    command = 'import mmseg_ext; print(mmseg_ext.__file__)'
    done = subprocess.run(
        ['python', '-c', command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = environment['PATH'].partition(os.pathsep)[0]
    assert done.stdout.splitlines()[-1].startswith(str(Path(folder).parent))


@pytest.mark.parametrize('name', PAGES)
def test_page(name, environment, tmp_path):
    page = (ROOT / 'docs' / f'{name}.md').read_text()
    for block in blocks_of(page):
        if block.skipped or block.language not in ('bash', 'python'):
            continue
        if block.target:
            (tmp_path / block.target).write_text(block.text)
            continue
        run(block, tmp_path, environment, f'docs/{name}.md:{block.line}')


def run(block, folder, environment, where):
    """Run a block; show what it printed where it fails or says too much."""
    is_shell = block.language == 'bash'
    done = subprocess.run(
        ['bash', '-eux', '-o', 'pipefail'] if is_shell else ['python', '-'],
        cwd=folder,
        env=environment,
        input=block.text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    print(f'$ {where}\n{done.stdout}')
    assert done.returncode == 0, where
    trainings = len(re.findall(r'^mmseg-ext train', block.text, re.M))
    if trainings and '--verbose' not in shlex.split(block.text):
        lines = len(re.findall(r'^(?![|+]|.*%\|).+$', done.stdout, re.M))
        print(f'{where}: {lines} lines, {trainings} training(s)')
        assert lines <= trainings * LINES, where
