"""Sample data with exact ground truth, written in the raw formats.

Street scenes and hands are drawn from a seed, and a writer for each data set
puts them on disk as the original lies there. No registry, no torch.
"""

from mmseg_ext.sample_data.camvid import write_camvid
from mmseg_ext.sample_data.cityscapes import (
    cityscapes_instance_ids,
    cityscapes_name,
    write_cityscapes,
)
from mmseg_ext.sample_data.idd import (
    idd_label_map,
    idd_scene,
    idd_stem,
    write_idd,
)
from mmseg_ext.sample_data.nails import (
    NailScene,
    nail_scene,
    nail_stem,
    write_nails,
)
from mmseg_ext.sample_data.nuimages import (
    nuimages_filename,
    nuimages_label_map,
    write_nuimages,
)
from mmseg_ext.sample_data.scenes.render import render_scene
from mmseg_ext.sample_data.scenes.scene import KINDS, Scene, SceneObject

__all__ = [
    'KINDS',
    'NailScene',
    'Scene',
    'SceneObject',
    'cityscapes_instance_ids',
    'cityscapes_name',
    'idd_label_map',
    'idd_scene',
    'idd_stem',
    'nail_scene',
    'nail_stem',
    'nuimages_filename',
    'nuimages_label_map',
    'render_scene',
    'write_camvid',
    'write_cityscapes',
    'write_idd',
    'write_nails',
    'write_nuimages',
]
