"""The command line that compares two runs."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from helpers.command_lines import error_of
from helpers.compared_runs import draw_labels, spoil, write_run

TOOL = Path(__file__).parents[2] / 'tools/compare.py'


@pytest.fixture
def main():
    return runpy.run_path(str(TOOL))['main']


@pytest.fixture
def runs(tmp_path):
    rng = np.random.default_rng(0)
    labels = draw_labels(rng)
    names = [f'{k // 2}/{k}.png' for k in range(len(labels))]
    return [
        str(
            write_run(
                tmp_path / name, labels, spoil(rng, labels, share), names=names
            )
        )
        for name, share in (('a', 0.5), ('b', 0.2))
    ]


def test_it_tells_which_is_better(runs, main, tmp_path, capsys):
    out = tmp_path / 'compare.html'
    options = ['--cluster', '^[^/]+', '--bootstrap', '100', '--seed', '3']
    main([*runs, '--out', str(out), *options, '--exclude', 'class 2'])
    told = capsys.readouterr()
    assert told.out.startswith('B is better: mIoU goes from')
    assert told.out.splitlines()[-1] == str(out)
    assert 'The images are of 6 sequences' in told.err
    assert '--cluster names them' in out.read_text()
    assert 'class 2 (excluded)' in out.read_text()


def test_what_the_user_can_mend(runs, main, tmp_path, capsys):
    out = ['--out', str(tmp_path / 'compare.html')]
    rng = np.random.default_rng(1)
    labels = draw_labels(rng)
    other = write_run(tmp_path / 'other', labels, labels)
    line = error_of(capsys, main, [runs[0], str(other), *out])
    assert "image 0 is '0/0.png' in the first and 'images/0.png'" in line
    line = error_of(capsys, main, [*runs, *out, '--bootstrap', '0'])
    assert '--bootstrap 0' in line
    line = error_of(capsys, main, [*runs, *out, '--cluster', 'x'])
    assert "--cluster 'x'" in line or '--cluster x' in line
    line = error_of(capsys, main, [*runs, '--out', str(tmp_path)])
    assert f'--out {tmp_path}' in line
    line = error_of(capsys, main, [runs[0], str(tmp_path), *out])
    assert 'no run directory' in line
    assert not (tmp_path / 'compare.html').exists()
