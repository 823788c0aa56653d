"""Classes and colors of CamVid.

Source: the 32-class release of the Cambridge-driving Labeled Video Database
(Brostow et al., "Semantic object classes in video", 2009), whose
``class_dict.csv`` lists the classes in this order, and the 11 benchmark
classes of SegNet (Badrinarayanan et al., arXiv:1511.00561) with the grouping
of the 32 classes that the MathWorks example publishes.

All colors are RGB, 0 to 255.
"""

__all__ = ['CAMVID11', 'CAMVID32', 'GROUPINGS', 'VOID']

#: ``name -> (R, G, B)``; the position is the class index, as in the release.
CAMVID32 = {
    'Animal': (64, 128, 64),
    'Archway': (192, 0, 128),
    'Bicyclist': (0, 128, 192),
    'Bridge': (0, 128, 64),
    'Building': (128, 0, 0),
    'Car': (64, 0, 128),
    'CartLuggagePram': (64, 0, 192),
    'Child': (192, 128, 64),
    'Column_Pole': (192, 192, 128),
    'Fence': (64, 64, 128),
    'LaneMkgsDriv': (128, 0, 192),
    'LaneMkgsNonDriv': (192, 0, 64),
    'Misc_Text': (128, 128, 64),
    'MotorcycleScooter': (192, 0, 192),
    'OtherMoving': (128, 64, 64),
    'ParkingBlock': (64, 192, 128),
    'Pedestrian': (64, 64, 0),
    'Road': (128, 64, 128),
    'RoadShoulder': (128, 128, 192),
    'Sidewalk': (0, 0, 192),
    'SignSymbol': (192, 128, 128),
    'Sky': (128, 128, 128),
    'SUVPickupTruck': (64, 128, 192),
    'TrafficCone': (0, 0, 64),
    'TrafficLight': (0, 64, 64),
    'Train': (192, 64, 128),
    'Tree': (128, 128, 0),
    'Truck_Bus': (192, 128, 192),
    'Tunnel': (64, 0, 64),
    'VegetationMisc': (192, 192, 0),
    'Void': (0, 0, 0),
    'Wall': (64, 192, 0),
}

#: The class whose pixels carry no label: they become the ignore index.
VOID = 'Void'

#: ``name -> ((R, G, B), names of the 32 classes it takes in)``; the position
#: is the class index. ``Void`` is in no group.
CAMVID11 = {
    'Sky': ((128, 128, 128), ('Sky',)),
    'Building': (
        (128, 0, 0),
        ('Building', 'Bridge', 'Wall', 'Tunnel', 'Archway'),
    ),
    'Pole': ((192, 192, 128), ('Column_Pole', 'TrafficCone')),
    'Road': ((128, 64, 128), ('Road', 'LaneMkgsDriv', 'LaneMkgsNonDriv')),
    'Pavement': ((60, 40, 222), ('Sidewalk', 'ParkingBlock', 'RoadShoulder')),
    'Tree': ((128, 128, 0), ('Tree', 'VegetationMisc')),
    'SignSymbol': (
        (192, 128, 128),
        ('SignSymbol', 'Misc_Text', 'TrafficLight'),
    ),
    'Fence': ((64, 64, 128), ('Fence',)),
    'Car': (
        (64, 0, 128),
        ('Car', 'SUVPickupTruck', 'Truck_Bus', 'Train', 'OtherMoving'),
    ),
    'Pedestrian': (
        (64, 64, 0),
        ('Pedestrian', 'Child', 'CartLuggagePram', 'Animal'),
    ),
    'Bicyclist': ((0, 128, 192), ('Bicyclist', 'MotorcycleScooter')),
}

#: Name of a grouping and its groups.
GROUPINGS = {'camvid11': CAMVID11}
