# The same on ResNet-50, from weights at an address.
_base_ = [
    './fpn_lite0_1xb8-amp-1k_camvid11-360x480.py',
    '../_base_/models/fpn_r50.py',
]

model = _base_.r50
