"""What the package takes for granted of upstream, and upstream never promised.

Each test names a seam of MMEngine, MMCV, MMSeg, MMDet or MIM and what of ours
hangs on it, so that an upgrade fails here first, with the reason.
"""

import ast
import importlib
import inspect
import pickle
import pickletools
import subprocess
import textwrap
from argparse import Namespace
from pathlib import Path

import mmcv._ext
import mmdet
import mmengine
import mmseg
import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from mmdet.datasets.transforms import TranslateX
from mmdet.models.dense_heads import FCOSHead, RetinaHead
from mmdet.models.necks import FPN
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import DetDataSample
from mmengine.config import Config, DictAction
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseTTAModel
from mmengine.registry import RUNNERS, Registry, build_functions
from mmengine.runner import (
    CheckpointLoader,
    Runner,
    find_latest_checkpoint,
    load_checkpoint,
)
from mmengine.runner.checkpoint import _load_checkpoint
from mmengine.structures import InstanceData
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import (
    LoadAnnotations,
    PhotoMetricDistortion,
    RandomCrop,
)
from mmseg.models.segmentors import BaseSegmentor, EncoderDecoder
from mmseg.registry import registry as mmseg_registries
from torch import nn

import mmseg_ext
from mmseg_ext.launch.distributed import LAUNCHERS
from mmseg_ext.launch.errors import _READERS
from mmseg_ext.models.lean_inference import LeanInference
from mmseg_ext.registry import CHILDREN, SCOPE
from mmseg_ext.unpickling import _NUMPY_MODULES, _STATISTICS


def is_ours(owner):
    return owner.__module__.partition('.')[0] == 'mmseg_ext'


def overrides():
    """List the upstream methods that the registered classes replace.

    Constructors are called by our names, and are tested one by one below.
    """
    found = {}
    public = [getattr(mmseg_ext, name) for name in mmseg_ext.__all__]
    # That one is put before the class of a model by a function.
    for kind in (*filter(inspect.isclass, public), LeanInference):
        lineage = kind.__mro__
        for index, owner in enumerate(lineage):
            for method, function in vars(owner).items():
                if not (is_ours(owner) and callable(function)):
                    continue
                for above in lineage[index + 1 :]:
                    if method in vars(above) and not is_ours(above):
                        key = f'{owner.__name__}.{method}'
                        found[key] = function, vars(above)[method], above
                        break
    return [
        pytest.param(ours, getattr(theirs, '__func__', theirs), id=key)
        for key, (ours, theirs, above) in sorted(found.items())
        # PyTorch's own forward names no parameters.
        if above is not object
        and theirs is not nn.Module.forward
        and not key.endswith('__')
    ]


def parameters_of(function):
    """Return the parameters of a method, also of one that MMCV decorates.

    Returns:
        Whether each has to be given, by name; whether there are ``*args``.
    """
    _, *parameters = inspect.signature(
        inspect.unwrap(function)
    ).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    single = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind not in several
    }
    return single, len(single) < len(parameters)


@pytest.mark.parametrize(('ours', 'theirs'), overrides())
def test_an_override_takes_what_upstream_hands_over(ours, theirs):
    """Upstream calls our methods by position and by name."""
    own, rest = parameters_of(ours)
    names = list(parameters_of(theirs)[0])
    # Ours hands the rest on.
    shared = len(own) if rest else len(names)
    assert list(own)[:shared] == names[:shared]
    # What is ours alone is never handed over.
    assert not any(own[name] for name in list(own)[shared:])


def test_there_are_overrides():
    ids = {param.id for param in overrides()}
    assert {'IoU.evaluate', 'MMDeeplabV3.encode_decode'} <= ids
    assert {'SegVisHook._after_iter', 'FastRandomCrop.crop_bbox'} <= ids
    assert {
        'TranslateXPixels._get_mag',
        'ColorMaskDataset.get_label_map',
    } <= ids
    assert 'ConsistentSupervision._load_from_state_dict' in ids


#: What is called, the arguments that we name, and where.
CALLS = [
    ('mmengine.registry:Registry', 'parent scope locations', 'registry'),
    ('mmengine.runner:find_latest_checkpoint', 'path', 'find_checkpoint'),
    ('mmengine.dataset:InfiniteSampler', 'seed', 'RareClassSampler'),
    ('mmengine.visualization:Visualizer.add_image', 'step', 'SegVisHook'),
    ('mmengine.model:BaseTTAModel', 'module', 'turn_on_tta'),
    ('mmengine.optim:AmpOptimWrapper', 'loss_scale', 'set_precision'),
    ('mmengine.visualization:LocalVisBackend', 'save_dir', 'turn_on_drawing'),
    ('mmcv.transforms:RandomFlip', 'prob', 'turn_on_tta'),
    ('mmcv.transforms:TestTimeAug', 'transforms', 'turn_on_tta'),
    ('mmcv:imfrombytes', 'flag backend', 'FastLoadAnnotations'),
    (
        'mmseg.engine.hooks:SegVisualizationHook',
        'draw interval show wait_time',
        'turn_on_drawing',
    ),
    (
        'mmseg.visualization:SegLocalVisualizer',
        'vis_backends save_dir',
        'turn_on_drawing',
    ),
    (
        'mmseg.evaluation:IoUMetric',
        'ignore_index beta prefix',
        'choose_evaluator keeps these for IoU',
    ),
    ('mmseg.apis:MMSegInferencer', 'scope', 'docs/install.md'),
    (
        'mmseg.models.segmentors:BaseSegmentor',
        'data_preprocessor init_cfg',
        'MMDeeplabV3',
    ),
    ('mmseg.datasets.transforms:LoadAnnotations', 'backend_args', 'loaders'),
    (
        'mmdet.engine.hooks:DetVisualizationHook',
        'draw interval show wait_time test_out_dir',
        'turn_on_drawing',
    ),
    (
        'mmdet.evaluation:CocoMetric',
        'ann_file metric format_only backend_args',
        'choose_evaluator',
    ),
    ('mmdet.evaluation:DumpDetResults', 'out_file_path', 'prediction_writer'),
    ('mmdet.models:DetTTAModel', 'tta_cfg', 'turn_on_tta'),
    (
        'mmdet.apis:DetInferencer',
        'model weights device show_progress',
        'load_detector',
    ),
    (
        'mmdet.apis:DetInferencer.__call__',
        'inputs batch_size return_datasamples',
        'detect',
    ),
    (
        'mmdet.datasets.transforms:TranslateX',
        'prob reversal_prob img_border_value mask_border_value '
        'seg_ignore_label interpolation',
        'TranslateXPixels',
    ),
    (
        'mmdet.models.necks:FPN',
        'in_channels out_channels num_outs start_level end_level '
        'add_extra_convs',
        'AugFPN',
    ),
    (
        'mmdet.models.roi_heads.roi_extractors:BaseRoIExtractor',
        'roi_layer out_channels featmap_strides init_cfg',
        'SoftRoIExtractor gives them in this order',
    ),
    (
        'mmdet.models.roi_heads:StandardRoIHead',
        'bbox_head mask_head',
        'ConsistentStandardRoIHead',
    ),
    (
        'mmdet.models.roi_heads:CascadeRoIHead',
        'num_stages stage_loss_weights bbox_head mask_head',
        'ConsistentCascadeRoIHead',
    ),
    *(
        (
            f'mmdet.models.dense_heads:{head}.{method}',
            names,
            'ConsistentDenseHead',
        )
        for head in ('RetinaHead', 'FCOSHead')
        for method, names in (
            ('predict_by_feat', 'batch_img_metas cfg'),
            (
                'loss_by_feat',
                'batch_gt_instances batch_img_metas batch_gt_instances_ignore',
            ),
        )
    ),
    (
        'mmdet.models.roi_heads.bbox_heads:BBoxHead.get_targets',
        'sampling_results rcnn_train_cfg',
        'bbox_losses gives them in this order',
    ),
    (
        'mmdet.models.roi_heads.bbox_heads:BBoxHead.loss',
        'cls_score bbox_pred rois labels label_weights bbox_targets '
        'bbox_weights',
        'bbox_losses gives them in this order',
    ),
    (
        'mmdet.models.roi_heads.mask_heads:FCNMaskHead.get_targets',
        'sampling_results batch_gt_instances rcnn_train_cfg',
        'mask_losses gives them in this order',
    ),
]


@pytest.mark.parametrize(
    ('target', 'names', 'user'),
    [pytest.param(*row, id=row[0].partition(':')[2]) for row in CALLS],
)
def test_arguments_that_we_name(target, names, user):
    """Ours gives these arguments, or configs that ours writes do."""
    module, _, path = target.partition(':')
    found = importlib.import_module(module)
    for part in path.split('.'):
        found = getattr(found, part)
    taken = list(inspect.signature(found).parameters)
    names = names.split()
    assert [name for name in taken if name in names] == names, user


# MMEngine.


def test_one_table_of_scopes():
    """registry.py puts our scope there, for configs and inferencers."""
    for module in (mmengine.infer.infer, mmengine.registry.registry):
        assert module.MODULE2PACKAGE is MODULE2PACKAGE
    assert MODULE2PACKAGE[SCOPE] == SCOPE
    assert 'mmseg' in MODULE2PACKAGE


def test_a_child_is_imported_from_its_locations():
    """Without, mmengine asks for mmseg_ext.utils.register_all_modules."""
    child = Registry('seam', scope=SCOPE, locations=['no_such_module'])
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
        child.import_from_location()
    for child in CHILDREN.values():
        child.import_from_location()


def test_registries_of_mmseg_lie_in_one_module():
    """registry.py makes a child of each; inferencers look classes up there."""
    public = {
        id(value)
        for value in vars(mmseg.registry).values()
        if isinstance(value, Registry)
    }
    own = {
        name: value
        for name, value in vars(mmseg_registries).items()
        if isinstance(value, Registry) and value.scope == 'mmseg'
    }
    assert {id(value) for value in own.values()} == public
    assert {id(child.parent) for child in CHILDREN.values()} == public
    assert {'MODELS', 'DATASETS', 'TRANSFORMS', 'VISUALIZERS'} <= set(own)


def test_checkpoints_come_through_one_list_of_loaders(monkeypatch):
    """checkpoint.py guards each loader in that list."""
    asked = []

    def load_from_seam(filename, map_location):
        asked.append((filename, map_location))
        return {'state_dict': {}}

    schemes = CheckpointLoader._schemes
    assert {'', 'http://', 'https://', 'torchvision://'} <= set(schemes)
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(schemes))
    for _ in range(2):
        CheckpointLoader.register_scheme('seam://', load_from_seam, force=True)
    load_checkpoint(torch.nn.Linear(1, 1), 'seam://a', map_location='cpu')
    _load_checkpoint('seam://b', map_location='cpu')
    assert asked == [('seam://a', 'cpu'), ('seam://b', 'cpu')]


def test_nothing_else_loads_checkpoints():
    """Else a file could run its code in spite of our guards."""
    loading = set()
    for package in (mmengine, mmseg, mmdet):
        root = Path(package.__file__).parent
        for path in root.rglob('*.py'):
            name = path.relative_to(root.parent)
            words = ('torch.load(', 'load_state_dict_from_url(', 'load_url(')
            text = path.read_text(encoding='utf-8')
            if '.mim' not in name.parts and any(w in text for w in words):
                loading.add(name.as_posix())
    assert loading == {
        'mmengine/runner/checkpoint.py',
        'mmengine/utils/dl_utils/hub.py',
    }


def test_what_a_history_buffer_refers_to():
    """unpickling.py lets torch load these of its methods and no others."""
    own = set(HistoryBuffer()._statistics_methods) & set(vars(HistoryBuffer))
    assert own == set(_STATISTICS)


def test_how_numpy_is_pickled():
    """unpickling.py stands in for these functions of NumPy."""
    data = pickle.dumps((np.float64(1), np.ones(2)), protocol=2)
    named = {
        argument
        for code, argument, _ in pickletools.genops(data)
        if code.name == 'GLOBAL' and 'multiarray' in argument
    }
    assert {name.partition(' ')[0] for name in named} <= set(_NUMPY_MODULES)
    functions = {name.partition(' ')[2] for name in named}
    assert functions == {'scalar', '_reconstruct'}


def test_the_prefix_of_wrapped_models_is_cut_off():
    """check_checkpoint compares names as mmengine will."""
    parameters = inspect.signature(load_checkpoint).parameters
    assert parameters['revise_keys'].default == [(r'^module\.', '')]


def test_a_tta_model_holds_its_model():
    """check_checkpoint compares with the model within."""

    class Views(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            raise NotImplementedError

    model = torch.nn.Module()
    model.test_step = None
    assert Views(model).module is model


def test_a_hook_hears_of_all_iterations_in_one_method():
    """SegVisHook has that one alone."""
    stages = mmseg_ext.SegVisHook().get_triggered_stages()
    assert {'after_val_iter', 'after_test_iter'} <= set(stages)

    class Heard(Hook):
        def _after_iter(self, runner, **given):
            self.given = given

    hook = Heard()
    for mode in ('val', 'test'):
        getattr(hook, f'after_{mode}_iter')(None, 3, 'batch', 'outputs')
        assert hook.given == dict(
            batch_idx=3, data_batch='batch', outputs='outputs', mode=mode
        )


@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_a_loop_is_built_when_it_is_asked_for(mode):
    """runs.py builds data sets early, and tells what is wrong with them."""
    runner = Runner.__new__(Runner)
    setattr(runner, f'_{mode}_loop', {'type': 'Loop'})
    setattr(runner, f'build_{mode}_loop', lambda loop: ('built', loop))
    built = getattr(runner, f'{mode}_loop')
    assert built == ('built', {'type': 'Loop'})


def test_runners_are_built_from_configs(monkeypatch):
    """runs.py leaves the choice of the class to the registry."""
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: ('runner', cfg))
    cfg = Config(dict(a=1))
    kind, given = RUNNERS.build(cfg)
    assert (kind, given.to_dict()) == ('runner', {'a': 1})


class Listener(BaseMetric):
    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.heard = data_samples

    def evaluate(self, size):
        return {f'size of {id(self)}': size}

    def compute_metrics(self, results):
        raise NotImplementedError


def test_an_evaluator_is_a_list_of_metrics():
    """run_test adds a writer of predictions; IoU scores on its own."""
    first, second = Listener(), Listener()
    evaluator = Evaluator(first)
    evaluator.metrics.append(second)
    evaluator.process(data_samples=[{'a': 1}], data_batch={})
    assert first.heard == second.heard == [{'a': 1}]
    scores = evaluator.evaluate(5)
    assert scores == {f'size of {id(m)}': 5 for m in (first, second)}


@pytest.mark.parametrize('size', [1, 7, 8])
def test_samples_are_dealt_out_in_turn(monkeypatch, size):
    """IoU.evaluate leaves out what pads the last round."""
    for rank in range(4):
        monkeypatch.setattr(
            mmengine.dataset.sampler, 'get_dist_info', lambda r=rank: (r, 4)
        )
        got = list(DefaultSampler(range(size), shuffle=False, seed=0))
        rounds = -(-size // 4)
        assert got == [(4 * k + rank) % size for k in range(rounds)]


def test_the_latest_checkpoint(tmp_path):
    """find_checkpoint reads the same file."""
    assert find_latest_checkpoint(str(tmp_path)) is None
    (tmp_path / 'last_checkpoint').write_text('/runs/iter_2.pth')
    assert find_latest_checkpoint(str(tmp_path)) == '/runs/iter_2.pth'


def test_only_a_name_for_a_config_is_run_when_a_run_is_resumed():
    """read_checkpoint leaves it out; mmengine saves its own as another."""
    resume = inspect.getsource(Runner.resume)
    assert resume.count('fromstring') == 1
    assert "checkpoint['meta']['config'], file_format" in resume
    assert 'config=' not in inspect.getsource(Runner.save_checkpoint)


def test_pairs_are_parsed_without_a_parser():
    """parse_pairs calls the action by itself."""
    namespace = Namespace()
    DictAction([], 'options')(None, namespace, ['a=1', 'b.c=[x,2]'])
    assert namespace.options == {'a': 1, 'b.c': ['x', 2]}
    for wrong in ('a', 'a=[1,2'):
        with pytest.raises((ValueError, AssertionError)):
            DictAction([], 'options')(None, Namespace(), [wrong])


def test_what_tells_where_a_config_is_wrong():
    """Variables of the functions through which errors of configs come."""
    for reader in _READERS:
        parameters = inspect.signature(getattr(Config, reader)).parameters
        assert 'filename' in parameters
    for build, names in (
        ('build_from_cfg', {'obj_type', 'obj_cls', 'registry'}),
        ('build_scheduler_from_cfg', {'scheduler_type', 'registry'}),
        ('build_runner_from_cfg', {'obj_type', 'registry'}),
    ):
        function = getattr(build_functions, build)
        assert names <= set(function.__code__.co_varnames)
        assert 'registry. ' in inspect.getsource(function)


def test_variables_of_the_launchers():
    """set_launcher looks for those that mmengine will read."""
    source = inspect.getsource(mmengine.dist.utils)
    for name, (_, *variables) in LAUNCHERS.items():
        assert f"launcher == '{name}'" in source
        for variable in variables:
            assert f"'{variable}'" in source


def test_the_runner_joins_only_what_is_not_joined():
    """join_processes comes before it, and DistributedOnCPU is wanted."""
    source = inspect.getsource(mmengine.runner.Runner.setup_env)
    assert 'self.distributed and not is_distributed()' in source
    source = inspect.getsource(mmengine.runner.Runner.wrap_model)
    # What is set for a model without a config of its wrapper.
    assert (
        "                device_ids=[int(os.environ['LOCAL_RANK'])],\n"
        '                broadcast_buffers=False,\n'
        '                find_unused_parameters=find_unused_parameters)'
    ) in source


def test_files_of_a_log():
    """logs.py reads WORK_DIR/TIME/vis_data/scalars.json."""
    parameters = inspect.signature(
        mmengine.visualization.LocalVisBackend
    ).parameters
    assert parameters['scalar_save_file'].default == 'scalars.json'
    source = inspect.getsource(mmengine.visualization.Visualizer.__init__)
    assert "'vis_data'" in source


# MMCV.


def test_draws_are_listed_and_shared():
    """FastRandomCrop keeps a list of its own beside that of its base."""
    assert RandomCrop._methods_with_randomness == ['crop_bbox']
    assert mmseg_ext.FastRandomCrop._methods_with_randomness == ['crop_bbox']
    crop = mmseg_ext.FastRandomCrop((2, 2))
    image = np.zeros((90, 90, 3), np.uint8)
    sample = {'img': image, 'gt_seg_map': image[..., 0]}
    with cache_random_params(crop):
        boxes = {crop.crop_bbox(sample) for _ in range(9)}
    assert len(boxes) == 1
    assert len({crop.crop_bbox(sample) for _ in range(9)}) > 1


def test_labels_are_loaded_in_one_method():
    """FastLoadAnnotations and LoadColorMasks override it."""

    class Loader(LoadAnnotations):
        def _load_seg_map(self, results):
            results['loaded'] = True

    assert Loader().transform({}) == {'loaded': True}
    loader = LoadAnnotations(backend_args={'backend': 'local'})
    assert loader.imdecode_backend == 'pillow'
    assert loader.reduce_zero_label is None
    assert loader.backend_args == {'backend': 'local'}


def test_name_of_the_compiled_ops():
    """environment.py looks for the file, and for its name in errors."""
    assert Path(mmcv._ext.__file__).match('mmcv/_ext.*')


# MMSeg.


def test_what_a_data_set_has_when_it_asks_for_its_label_map():
    """CamVid's depends on the instance, where upstream's is of the class."""

    class Folder(BaseSegDataset):
        def get_label_map(self, new_classes=None):
            return {0: self.ignore_index, 1: new_classes}

    folder = Folder(
        metainfo={'classes': ('a',), 'palette': [[0, 0, 0]]},
        img_suffix=('.png', '.jpg'),
        ignore_index=7,
        lazy_init=True,
    )
    assert folder.label_map == {0: 7, 1: ('a',)}
    # PairedDataset gives several.
    assert folder.img_suffix == ('.png', '.jpg')


def test_crops_are_drawn_and_cut_by_two_methods():
    """FastRandomCrop overrides the one and calls the other."""

    class Crop(RandomCrop):
        def crop_bbox(self, results):
            return 1, 3, 2, 5

    results = {'img': np.arange(24).reshape(4, 6), 'seg_fields': []}
    crop = Crop((2, 3), cat_max_ratio=0.5, ignore_index=7)
    expected = results['img'][1:3, 2:5]
    np.testing.assert_array_equal(crop(results)['img'], expected)
    assert (crop.crop_size, crop.cat_max_ratio) == ((2, 3), 0.5)
    assert crop.ignore_index == 7
    # Without a limit on classes one draw is all.
    assert RandomCrop((2, 3)).cat_max_ratio >= 1


def test_distortions_are_methods():
    """FastPhotoMetricDistortion overrides three of them."""
    called = set()

    class Distortion(PhotoMetricDistortion):
        def convert(self, img, alpha=1, beta=0):
            called.add('convert')
            return img

        def saturation(self, img):
            called.add('saturation')
            return img

        def hue(self, img):
            called.add('hue')
            return img

    distortion = Distortion()
    for _ in range(20):
        distortion({'img': np.zeros((2, 2, 3), np.uint8)})
    assert called == {'convert', 'saturation', 'hue'}
    names = ('saturation_lower', 'saturation_upper', 'hue_delta')
    assert all(hasattr(distortion, name) for name in names)


def read_of_self(method):
    """Return the attributes that a method reads of its object."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == 'self'
    }


@pytest.mark.usefixtures('torchvision')
def test_what_inference_reads_of_a_segmentor():
    """MMDeeplabV3 inherits it, but skips EncoderDecoder's constructor."""
    model = mmseg_ext.MMDeeplabV3(2, 'lraspp_mobilenet_v3_large')
    for owner, names in (
        (EncoderDecoder, 'predict inference slide_inference whole_inference'),
        (BaseSegmentor, 'forward postprocess_result'),
    ):
        for name in names.split():
            method = getattr(owner, name)
            assert getattr(type(model), name) is method
            read = read_of_self(method)
            absent = {attr for attr in read if not hasattr(model, attr)}
            # Its threshold, for a single channel, which ours never has.
            assert absent <= {'decode_head'}
            assert read - absent


@pytest.mark.usefixtures('torchvision')
def test_parts_of_torchvisions_networks():
    """MMDeeplabV3 runs them one by one and replaces a normalization."""
    models = importlib.import_module('torchvision.models.segmentation')
    network = models.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2, aux_loss=True
    )
    parts = {name for name, _ in network.named_children()}
    assert parts == {'backbone', 'classifier', 'aux_classifier'}
    pooling = models.deeplabv3.ASPPPooling
    (branch,) = (m for m in network.modules() if isinstance(m, pooling))
    kinds = [type(child) for child in branch.children()]
    assert torch.nn.BatchNorm2d in kinds


# MMDet.


def test_a_translation_asks_for_its_magnitude():
    """TranslateXPixels answers with a share of the width."""

    class Translate(TranslateX):
        asked = 0

        def _get_mag(self):
            self.asked += 1
            return 0.25

    translate = Translate(img_border_value=9)
    image = np.arange(24, dtype=np.uint8).reshape(1, 8, 3)
    moved = translate({'img': image, 'img_shape': (1, 8)})['img']
    assert moved[0, :, 0].tolist() == [9, 9, 0, 3, 6, 9, 12, 15]
    assert translate.asked == 1


@pytest.mark.usefixtures('mmdet_scope')
def test_parts_of_a_pyramid():
    """AugFPN runs FPN's layers itself."""
    neck = FPN([1, 2, 3, 4], 5, 6, start_level=1, add_extra_convs=True)
    assert (neck.start_level, neck.backbone_end_level) == (1, 4)
    assert neck.add_extra_convs == 'on_input'
    assert (len(neck.lateral_convs), len(neck.fpn_convs)) == (3, 6)
    assert neck.relu_before_extra_convs is False
    assert neck.upsample_cfg == {'mode': 'nearest'}
    assert (neck.in_channels, neck.num_outs) == ([1, 2, 3, 4], 6)
    # Inclusive, whatever its docstring says.
    assert FPN([1, 2, 3], 5, 2, end_level=1).backbone_end_level == 2


@pytest.mark.usefixtures('mmdet_scope')
def test_parts_of_a_roi_extractor():
    """SoftRoIExtractor and the auxiliary losses use its RoI layers."""
    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=7, sampling_ratio=2), 8, [4, 8]
    )
    assert extractor.num_inputs == len(extractor.roi_layers) == 2
    assert extractor.featmap_strides == [4, 8]
    assert extractor.roi_layers[0].output_size == (7, 7)
    rois = torch.tensor([[0, 10.0, 10, 20, 30]])
    scaled = extractor.roi_rescale(rois, 2.0)
    assert scaled.tolist() == [[0, 5, 0, 25, 40]]


@pytest.mark.usefixtures('mmdet_scope')
def test_parts_of_a_dense_head():
    """ConsistentDenseHead makes RoIs of what these predict."""
    head = FCOSHead(
        2,
        4,
        feat_channels=4,
        stacked_convs=1,
        norm_on_bbox=True,
        norm_cfg=None,
    )
    assert head.norm_on_bbox is True
    assert [tuple(s) for s in head.prior_generator.strides] == [
        (stride, stride) for stride in head.strides
    ]
    maps = [torch.zeros(1, 4, 2, 2)] * len(head.strides)
    for training in (True, False):
        head.train(training)
        scores, distances, centernesses = head(maps)
        assert scores[1].shape[1] == 2
        assert centernesses[1].shape[1] == 1
        ratio = distances[1] / distances[0]
        # In units of the stride in training, in pixels else.
        expected = 1 if training else head.strides[1] / head.strides[0]
        valid = distances[0] > 0
        torch.testing.assert_close(
            ratio[valid], torch.full_like(ratio[valid], float(expected))
        )
    strides = RetinaHead(2, 4, stacked_convs=1).prior_generator.strides
    assert [len(stride) for stride in strides] == [2] * 5


def test_ground_truth_is_unpacked_in_three():
    """ConsistentDenseHead samples from it."""
    truth, ignored = InstanceData(), InstanceData()
    sample = DetDataSample(metainfo={'a': 1})
    sample.gt_instances, sample.ignored_instances = truth, ignored
    unpacked = unpack_gt_instances([sample])
    assert unpacked[0][0] is truth
    assert unpacked[1][0] is ignored
    assert unpacked[2] == [{'a': 1}]


def test_the_warning_of_missing_classes():
    """load_detector, which then takes those of the config, silences it."""
    source = inspect.getsource(
        importlib.import_module('mmdet.apis.det_inferencer')
    )
    assert "'dataset_meta or class names are" in source


# MIM.


@pytest.mark.parametrize(
    ('command', 'given'),
    [('train', {'gpus': 0}), ('test', {'gpus': 0, 'checkpoint': 'x.pth'})],
)
def test_how_mim_starts_our_tools(tmp_path, monkeypatch, command, given):
    """Our tools have no --gpus in their help, and take --launcher none."""
    pytest.importorskip('mim')
    module = importlib.import_module(f'mim.commands.{command}')
    script = tmp_path / '.mim' / 'tools' / f'{command}.py'
    script.parent.mkdir(parents=True)
    script.touch()
    (tmp_path / 'config.py').touch()
    started = []

    def start(arguments, **_):
        started.append(arguments)
        return 0

    monkeypatch.setattr(module, 'get_installed_path', lambda _: str(tmp_path))
    monkeypatch.setattr(module, 'module_full_name', lambda name: name)
    monkeypatch.setattr(module, 'is_installed', lambda _: True)
    monkeypatch.setattr(subprocess, 'check_output', lambda _: b'usage')
    monkeypatch.setattr(subprocess, 'check_call', start)
    config = str(tmp_path / 'config.py')
    run = inspect.unwrap(getattr(module, command))
    run(package=SCOPE, config=config, other_args=('--eval', 'x'), **given)
    weights = ['x.pth'] if command == 'test' else []
    common = ['--launcher', 'none', '--eval', 'x']
    assert started[0][1:] == [str(script), config, *weights, *common]
