"""The campaign runs, and notices what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The campaign, with a tool and a reader that break what is promised.
BROKEN = """
import sys
from dataclasses import replace
from uuid import uuid4

sys.path.insert(0, sys.argv.pop(1))
import commands, readers, run

camvid = commands.COMMANDS['camvid']
commands.COMMANDS['camvid'] = replace(
    camvid, results=lambda out: {'x.png': uuid4().hex}
)

def read(root, path, out, skip):
    if path.read_bytes()[-8:] == b'IEND\\xaeB`\\x82':
        return
    raise KeyError(path.name)

mask = readers.READERS['color mask']
readers.READERS['color mask'] = replace(mask, read=read)
run.main()
"""

TINY = '--trials', '3', '--num', '12', '--seed', '0'


def run(*argv, fuzz, folder):
    only = '--only', 'kills:camvid', 'disks:camvid', fuzz
    done = subprocess.run(
        [sys.executable, *argv, *only, *TINY, '--findings', folder],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_tiny_campaign(tmp_path):
    status, table, error = run(
        ROOT / 'campaign/run.py', fuzz='fuzz', folder=tmp_path
    )
    assert status == 0, table + error
    for kind in ('kills | camvid', 'disks | camvid', 'fuzz  | color mask'):
        assert f'| {kind} ' in table
    readers = table.count('| fuzz  |')
    assert readers > 15
    assert table.endswith(f'{6 + 3 * readers} trials, 0 failed\n')
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_found_and_kept(tmp_path):
    argv = '-c', BROKEN, ROOT / 'campaign'
    status, table, error = run(*argv, fuzz='fuzz:color mask', folder=tmp_path)
    assert status == 1, table + error
    assert 'kills camvid, 3 times: after the second run x.png differs' in table
    assert 'disks camvid, 3 times: after the second run x.png differs' in table
    assert 'times: raises KeyError in <string>:read' in table
    finding = (tmp_path / 'kills-camvid-0/finding.txt').read_text()
    assert '--seed 0 --num 12 --again kills:camvid:0\n' in finding
    (kept, *_) = tmp_path.glob('fuzz-color mask-*')
    assert (kept / 'input/class_dict.csv').exists()


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--only', 'floods'], 'expected one of kills, disks, fuzz'),
        (['--again', 'kills:camvid'], 'expected KIND:SUBJECT:NUMBER'),
    ],
)
def test_arguments(tmp_path, argv, message):
    done = subprocess.run(
        [sys.executable, ROOT / 'campaign/run.py', *argv],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 2
    assert message in done.stderr
