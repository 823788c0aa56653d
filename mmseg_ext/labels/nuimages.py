"""Classes and colors of nuImages.

Source: nuImages v1.0 (Caesar et al., arXiv:1903.11027) and the color map of
its development kit. The kit numbers the object categories from 1 in
alphabetical order and gives the two surfaces 24 and 31; here, as in
OpenMMLab's example project, the numbers are made contiguous from 0 and pixels
without label are 255.

All colors are RGB, 0 to 255.
"""

__all__ = ['NUIMAGES', 'SURFACES', 'THINGS', 'THING_OF']

#: ``name -> (R, G, B)``; the position is the class index.
NUIMAGES = {
    'animal': (70, 130, 180),
    'human.pedestrian.adult': (0, 0, 230),
    'human.pedestrian.child': (135, 206, 235),
    'human.pedestrian.construction_worker': (100, 149, 237),
    'human.pedestrian.personal_mobility': (219, 112, 147),
    'human.pedestrian.police_officer': (0, 0, 128),
    'human.pedestrian.stroller': (240, 128, 128),
    'human.pedestrian.wheelchair': (138, 43, 226),
    'movable_object.barrier': (112, 128, 144),
    'movable_object.debris': (210, 105, 30),
    'movable_object.pushable_pullable': (105, 105, 105),
    'movable_object.trafficcone': (47, 79, 79),
    'static_object.bicycle_rack': (188, 143, 143),
    'vehicle.bicycle': (220, 20, 60),
    'vehicle.bus.bendy': (255, 127, 80),
    'vehicle.bus.rigid': (255, 69, 0),
    'vehicle.car': (255, 158, 0),
    'vehicle.construction': (233, 150, 70),
    'vehicle.emergency.ambulance': (255, 83, 0),
    'vehicle.emergency.police': (255, 215, 0),
    'vehicle.motorcycle': (255, 61, 99),
    'vehicle.trailer': (255, 140, 0),
    'vehicle.truck': (255, 99, 71),
    'flat.driveable_surface': (0, 207, 191),
    'vehicle.ego': (255, 240, 245),
}

#: The categories of ``surface_ann``; all others are objects.
SURFACES = frozenset(('flat.driveable_surface', 'vehicle.ego'))

#: The thing classes; the position is the category id in the COCO files.
THINGS = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)

#: ``name -> thing class`` of the categories that are counted one by one.
THING_OF = {
    'human.pedestrian.adult': 'pedestrian',
    'human.pedestrian.child': 'pedestrian',
    'human.pedestrian.construction_worker': 'pedestrian',
    'human.pedestrian.police_officer': 'pedestrian',
    'movable_object.barrier': 'barrier',
    'movable_object.trafficcone': 'traffic_cone',
    'vehicle.bicycle': 'bicycle',
    'vehicle.bus.bendy': 'bus',
    'vehicle.bus.rigid': 'bus',
    'vehicle.car': 'car',
    'vehicle.construction': 'construction_vehicle',
    'vehicle.motorcycle': 'motorcycle',
    'vehicle.trailer': 'trailer',
    'vehicle.truck': 'truck',
}
