import pytest
import torch
from mmengine import DefaultScope

from mmseg_ext.inference.detectors import load_detector
from test_tools.tiny_runs import write_detection


@pytest.mark.parametrize(
    ('right', 'wrong', 'message'),
    [
        pytest.param(
            "'RetinaHead'",
            "'RetinaHed'",
            "^model.bbox_head: there is no 'RetinaHed' in the registry "
            'mmdet::model; close: RetinaHead',
            id='type',
        ),
        pytest.param(
            'stacked_convs=1',
            'stacked_conv=1',
            r'^model.bbox_head \(RetinaHead\) cannot be built: TypeError: .*'
            "'stacked_conv'; close: stacked_convs$",
            id='argument',
        ),
    ],
)
def test_config_that_cannot_be_built(tmp_path, right, wrong, message):
    config = write_detection(tmp_path / 'det')
    text = config.read_text()
    assert right in text
    config.write_text(text.replace(right, wrong))
    torch.save({'state_dict': {}}, tmp_path / 'x.pth')
    # The inferencer would leave its scope behind.
    scope = DefaultScope.overwrite_default_scope('mmengine')
    with scope, pytest.raises(ValueError, match=message):
        load_detector(str(config), str(tmp_path / 'x.pth'), 'cpu')
