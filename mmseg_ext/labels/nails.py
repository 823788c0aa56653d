"""The class and color of the nail photographs.

Source: the masks of the data set "Nails Segmentation", of which several copies
go around; they tell nails from everything else. The color is ours: it stands
out from skin, and from most polish.

All colors are RGB, 0 to 255.
"""

__all__ = ['NAILS']

#: ``name -> (R, G, B)``; the position is the class index.
NAILS = {'nail': (0, 230, 170)}
