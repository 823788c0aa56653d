import re
from importlib.resources import files

import mmseg
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS

from helpers.lean import (
    WAYS,
    build,
    check_labels,
    make_inputs,
    make_samples,
    model_config,
)
from mmseg_ext.engine.label_checks import class_heads
from mmseg_ext.launch.errors import why_not_built
from mmseg_ext.models import MMDeeplabV3
from mmseg_ext.models.lean_inference import LeanInference, _check_test_cfg


@pytest.fixture(autouse=True)
def _mmseg_scope():
    """Build what configs name as a runner of MMSeg would."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def lean_config(*args, **kwargs):
    return model_config(*args, **kwargs) | {'type': 'LeanEncoderDecoder'}


def cascade_config():
    """Return the config of a segmentor of two stages."""
    config = lean_config(7)
    config.num_stages = 2
    config.decode_head = [
        config.decode_head,
        {
            'type': 'OCRHead',
            'in_channels': 4,
            'channels': 4,
            'ocr_channels': 4,
            'num_classes': 7,
            'norm_cfg': {'type': 'BN'},
        },
    ]
    return config


def test_one_word_in_a_config():
    torch.manual_seed(0)
    plain = MODELS.build(model_config(7))
    torch.manual_seed(0)
    lean = MODELS.build(lean_config(7))
    assert isinstance(lean, LeanInference)
    assert isinstance(lean, EncoderDecoder)
    assert (lean.window_batch, lean.keep_logits) == (1, False)
    # No random number more or less.
    for (name, mine), (other, theirs) in zip(
        lean.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, theirs)
    # What is compared with the data set before a run.
    assert class_heads(lean) == class_heads(plain) != []


def test_options():
    config = lean_config(7) | {'window_batch': 4, 'keep_logits': True}
    before = config.to_dict()
    lean = MODELS.build(config)
    assert (lean.window_batch, lean.keep_logits) == (4, True)
    # MMSeg's tools build from a config more than once.
    assert config.to_dict() == before


def test_as_benchmarks_and_inferencers_build_it():
    """They set entries of the config that are None for a plain one."""
    config = lean_config(7)
    config.pretrained = config.train_cfg = None
    config.backbone.init_cfg = None
    del config.backbone['init_cfg']
    assert isinstance(MODELS.build(config), LeanInference)


@pytest.mark.parametrize(
    'segmentor',
    ['CascadeEncoderDecoder', 'mmseg.CascadeEncoderDecoder', None],
)
def test_a_segmentor_of_another_class(segmentor):
    """None stands for the class itself, as configs in plain Python have."""
    config = cascade_config()
    config.segmentor = segmentor or CascadeEncoderDecoder
    lean = build(config, whole_numbers=False)
    assert isinstance(lean, LeanInference)
    assert isinstance(lean, CascadeEncoderDecoder)
    labels = check_labels(lean, make_inputs(2), make_samples(2))
    assert len(labels.unique()) > 2


@pytest.mark.parametrize(
    ('network', 'align_corners', 'mode'),
    [
        ('deeplabv3_mobilenet_v3_large', False, 'whole'),
        ('lraspp_mobilenet_v3_large', True, 'whole'),
        ('lraspp_mobilenet_v3_large', False, 'slide'),
    ],
)
def test_networks_of_torchvision(torchvision, network, align_corners, mode):
    config = ConfigDict(
        type='LeanEncoderDecoder',
        segmentor='MMDeeplabV3',
        network=network,
        num_classes=7,
        align_corners=align_corners,
        test_cfg=model_config(mode=mode).test_cfg,
    )
    torch.manual_seed(0)
    lean = MODELS.build(config).eval()
    assert isinstance(lean, LeanInference)
    assert isinstance(lean, MMDeeplabV3)
    inputs = make_inputs(2, whole_numbers=False)
    # So that images differ in their logits, and no class is everywhere.
    for weight in lean.network.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight)
    parameters = lean.network.classifier.parameters()
    bias = next(p for p in parameters if p.shape == (7,))
    samples = make_samples(2, **WAYS['padded, resized, flipped'])
    with torch.no_grad():
        logits = lean.inference(inputs, [s.metainfo for s in samples])
        bias -= logits.mean((0, 2, 3))
    assert len(check_labels(lean, inputs, samples).unique()) > 1
    check_labels(lean, inputs)


def test_no_base_model_of_mmseg_is_refused():
    """Options of heads are no misspelt ones of the inference."""
    folder = files(mmseg) / '.mim' / 'configs' / '_base_' / 'models'
    seen = set()
    for path in folder.glob('*.py'):
        model = Config.fromfile(path, import_custom_modules=False).model
        test_cfg = model.get('test_cfg') or {}
        if test_cfg.get('crop_size') == 256:
            # No model could use this one: configs put pairs in its place.
            test_cfg.update(crop_size=(256, 256), stride=(170, 170))
        _check_test_cfg(test_cfg)
        seen.add(model.type)
    assert {'EncoderDecoder', 'CascadeEncoderDecoder'} <= seen


# Bad input


def windows(**test_cfg):
    config = lean_config(7, 'slide')
    config.test_cfg.update(test_cfg)
    return config


WRONG = {
    'stride larger than the crop': (
        windows(stride=(17, 24)),
        'test_cfg.stride=(17, 24) is larger than test_cfg.crop_size=(16, 24): '
        'no window would reach the pixels between them; expected at most '
        '(16, 24)',
    ),
    'window_batch misspelt': (
        lean_config() | {'window_bach': 2},
        "'window_bach' is no option of LeanEncoderDecoder, nor of "
        'segmentor=EncoderDecoder, the class that it builds; close: '
        'window_batch; for an option of another class, name that as segmentor',
    ),
    'window_batch of nothing': (
        lean_config() | {'window_batch': 0},
        'model.window_batch=0: expected a number of windows, 1 or more',
    ),
    'keep_logits that is neither': (
        lean_config() | {'keep_logits': 1},
        'model.keep_logits=1: expected True or False',
    ),
    'segmentor that is nothing': (
        lean_config() | {'segmentor': None},
        "segmentor=None: expected the type of a model, such as 'EncoderDecoder"
        "'",
    ),
    'segmentor that is a head': (
        lean_config() | {'segmentor': 'FCNHead'},
        'segmentor=FCNHead is not below EncoderDecoder of MMSeg, and lean '
        'inference is for such; name it as type instead',
    ),
    'segmentor that only looks like one': (
        lean_config() | {'segmentor': 'MultimodalEncoderDecoder'},
        'segmentor=MultimodalEncoderDecoder is not below EncoderDecoder of '
        'MMSeg, and lean inference is for such; name it as type instead',
    ),
    'segmentor of depth': (
        lean_config() | {'segmentor': 'DepthEstimator'},
        'DepthEstimator has its own predict(), which lean inference would '
        'replace; it has to stay as it is',
    ),
    'cascade without its name': (
        cascade_config(),
        "'num_stages' is no option of LeanEncoderDecoder, nor of "
        'segmentor=EncoderDecoder, the class that it builds; give '
        "segmentor='CascadeEncoderDecoder', which has all of these",
    ),
}


@pytest.mark.parametrize(('config', 'said'), WRONG.values(), ids=WRONG)
def test_what_cannot_be_built(config, said):
    with pytest.raises((TypeError, ValueError)) as raised:
        MODELS.build(config)
    assert str(raised.value) == said
    # What the tools say.
    kind = type(raised.value).__name__
    line = why_not_built(Config({'model': config}), raised.value)
    assert line == (
        f'model (LeanEncoderDecoder) cannot be built: {kind}: {said}'
    )


def test_a_segmentor_that_is_misspelt():
    config = cascade_config() | {'segmentor': 'CascadeEncodeDecoder'}
    with pytest.raises(
        KeyError, match='CascadeEncodeDecoder is not in the '
    ) as raised:
        MODELS.build(config)
    line = why_not_built(Config({'model': config}), raised.value)
    assert re.match(
        r"model\.segmentor: there is no 'CascadeEncodeDecoder' in the "
        r'registry mmseg::model; close: CascadeEncoderDecoder',
        line,
    )


def test_what_the_segmentor_itself_refuses(tmp_path):
    path = tmp_path / 'my.py'
    path.write_text(f'model = {without_head()!r}')
    config = Config.fromfile(path)
    with pytest.raises(TypeError) as raised:
        MODELS.build(config.model)
    assert why_not_built(config, raised.value) == (
        f'{path} cannot be built: TypeError: EncoderDecoder.__init__() '
        "missing 1 required positional argument: 'decode_head'"
    )


def without_head():
    return {'type': 'LeanEncoderDecoder', 'backbone': {'type': 'ResNet'}}
