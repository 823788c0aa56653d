import importlib.util

import pytest

from mmseg_ext import sample_data
from test_tools.tiny_runs import TOOLS


def contents(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location(
        'make_sample_data', TOOLS / 'make_sample_data.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('name', 'write', 'counted'),
    [
        ('camvid', sample_data.write_camvid, 'images'),
        ('cityscapes', sample_data.write_cityscapes, 'images'),
        ('idd', sample_data.write_idd, 'images, the larger ones'),
        ('nails', sample_data.write_nails, 'images'),
        ('nuimages', sample_data.write_nuimages, 'key frames'),
    ],
)
def test_each_format_has_its_writer(
    tool, tmp_path, capsys, name, write, counted
):
    out = tmp_path / 'out'
    options = ['--num', '5', '--size', '96x64', '--seed', '3', '--nproc', '2']
    tool.main([name, str(out), *options])
    told, following, *_ = capsys.readouterr().out.splitlines()
    assert told.startswith(f'{out}: ')
    assert told.endswith(f' {counted} of 96x64')
    assert following.startswith('next: ')
    same = tmp_path / 'same'
    write(same, num=5, size=(96, 64), seed=3, progress=False)
    assert contents(out) == contents(same) != {}
