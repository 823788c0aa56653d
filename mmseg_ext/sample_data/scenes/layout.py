"""Puts houses, traffic and people in their places along a random street."""

import numpy as np
from numpy.random import Generator

from mmseg_ext.sample_data.scenes import furniture, people, roadside, vehicles
from mmseg_ext.sample_data.scenes.backdrop import backdrop
from mmseg_ext.sample_data.scenes.buildings import building
from mmseg_ext.sample_data.scenes.light import (
    pick,
    random_color,
    random_light,
    scaled,
)
from mmseg_ext.sample_data.scenes.sketch import Item, Part, Spot
from mmseg_ext.sample_data.scenes.view import (
    CROSSING,
    LANE,
    View,
    random_camera,
    random_street,
)

__all__ = ['Layout']


class Layout:
    """All items of a scene.

    Every choice is made in meters, whatever the image size.

    Args:
        size: Image width and height in pixels.
        rng: Source of all choices.

    Attributes:
        view: Camera, light and street.
        backdrop: Sky, skyline and ground, back to front.
        standing: Everything else, back to front.
    """

    def __init__(self, size: tuple[int, int], rng: Generator) -> None:
        self.rng = rng
        light = random_light(rng)
        self.street = random_street(rng)
        self.view = View(random_camera(rng, size), light, self.street)
        self.urban = float(rng.uniform(0.25, 1))
        self.autumn = float(rng.choice((0.05, 0.5), p=(0.75, 0.25)))
        self.backdrop = backdrop(self.view, rng, self.urban, self.autumn)
        self.standing: list[Item] = []
        # Lateral from and to, z from and to of what stands on the street.
        self._taken: list[tuple[float, float, float, float]] = []
        for side in (-1, 1):
            self._add_lots(side)
            self._add_curbside(side)
        self._add_traffic()
        self._add_walkers()
        self._add_cyclists()
        self._add_cones()
        self._add_ego()
        self.standing.sort(key=lambda item: -item.order)

    def _stand(self, *items: Item | None) -> None:
        self.standing.extend(item for item in items if item is not None)

    def _take(
        self, lateral: float, z: float, wide: float, long: float
    ) -> Spot | None:
        """Reserve a place on the street.

        Args:
            lateral: Middle of the place.
            z: Middle of the place.
            wide: Half its width.
            long: Half its length.

        Returns:
            The middle; None when something stands there.
        """
        left, right = lateral - wide, lateral + wide
        start, end = z - long, z + long
        for others in self._taken:
            across = left < others[1] and others[0] < right
            if across and start < others[3] and others[2] < end:
                return None
        self._taken.append((left, right, start, end))
        return Spot(self.view, self.rng, self.street.x(lateral, z), z)

    def _add_lots(self, side: int) -> None:
        """Add houses and gardens beyond the sidewalk."""
        rng, street = self.rng, self.street
        z = float(rng.uniform(1.5, 6))
        usual = float(rng.uniform(1.5, 2.5 + 4 * self.urban))
        border = abs(street.border(side)) + 0.1
        while z < 115:
            end = z + float(rng.uniform(9, 22))
            built = rng.random() < self.urban
            floors = int(np.clip(rng.normal(usual, 1.2), 1, 9))
            setback = float(rng.choice((0.0, 1.5, 4.0), p=(0.6, 0.2, 0.2)))
            crossing = street.crossing
            if crossing is not None and street.meets_crossing(z, end):
                if crossing - 1 - z < 5:
                    z = crossing + CROSSING
                    continue
                end = crossing - 1
            if built:
                place = (side, (z, end), border + setback)
                self._stand(building(self.view, rng, *place, floors))
            else:
                self._add_trees(side, z, end, border)
            if not built or setback > 2:
                self._add_barrier(side, z, end, border)
            z = end + float(rng.choice((0.0, 0.05, 2.5), p=(0.5, 0.3, 0.2)))

    def _add_trees(
        self, side: int, start: float, end: float, border: float
    ) -> None:
        rng = self.rng
        for _ in range(int(rng.integers(2, 6 if start < 40 else 3))):
            share = rng.random()
            z = max(start + share * (end - start), 3)
            x = self.street.x(side * (border + rng.uniform(2.5, 9)), z)
            size = float(rng.uniform(0.7, 1.5))
            spot = Spot(self.view, rng, x, z)
            tree = roadside.tree(spot, size, self.autumn)
            if tree is not None:
                # Behind the fence, of which the far end counts.
                tree.order = end + 0.1 + 0.5 * share
                self._stand(tree)

    def _add_barrier(
        self, side: int, start: float, end: float, border: float
    ) -> None:
        kinds = ('fence', 'wall', 'vegetation', '')
        kind = str(self.rng.choice(kinds, p=(0.42, 0.2, 0.23, 0.15)))
        if kind:
            place = (side * border, (start, end))
            self._stand(roadside.barrier(self.view, self.rng, kind, *place))

    def _add_curbside(self, side: int) -> None:
        """Add trees, lamps, signs and bins at the edge of the sidewalk."""
        rng, street = self.rng, self.street
        leafy = float(rng.choice((0.05, 0.5)))
        weights = np.array((leafy, 0.3, 0.28, 0.16, 0.12))
        z = float(rng.uniform(6, 12))
        while z < 65:
            choice = rng.choice(5, p=weights / weights.sum())
            lateral = side * (street.half_width + float(rng.uniform(0.4, 0.8)))
            size = float(rng.uniform(0.7, 1.15))
            spot = None
            if not street.meets_crossing(z, z):
                spot = self._take(lateral, z, 0.3, 0.3)
            if spot is not None:
                if choice == 0:
                    self._stand(roadside.tree(spot, size, self.autumn))
                elif choice == 1:
                    self._stand(furniture.lamp_post(spot, -side))
                elif choice == 2:
                    self._stand(*furniture.traffic_sign(spot))
                elif choice == 3:
                    self._stand(furniture.litter_bin(spot))
            z += float(rng.uniform(4, 11))
        if street.crossing is not None:
            for z in (street.crossing - 1.2, street.crossing + 7.6):
                lateral = side * (street.half_width + 0.5)
                spot = self._take(lateral, z, 0.3, 0.3)
                if spot is not None and rng.random() < 0.7:
                    self._stand(*furniture.traffic_light(spot, -side))

    def _add_traffic(self) -> None:
        """Add vehicles in the lanes, at the curb and on the side street."""
        rng, street = self.rng, self.street
        gap = float(rng.uniform(8, 45))
        for lane in range(street.lanes):
            lateral = (lane + 0.5) * LANE - street.edge
            ahead = lateral * street.drive_side > 0
            own = ahead and abs(lateral - street.ego) < LANE / 2
            z = float(rng.uniform(8 if own else 5, 30))
            while z < 80:
                self._add_vehicle(lateral, z, 0.0 if ahead else np.pi)
                z += 7 + float(rng.exponential(gap))
        if street.parking:
            self._add_parked()
        if street.crossing is not None:
            for _ in range(int(rng.poisson(0.9))):
                z = street.crossing + 3.7
                spot = self._take(float(rng.uniform(-24, 24)), z, 2.6, 1.1)
                turn = pick(rng, (-1, 1)) * np.pi / 2
                if spot is not None:
                    self._stand(vehicles.car(spot, turn))

    def _add_parked(self) -> None:
        rng, street = self.rng, self.street
        for side in (-1, 1):
            full = float(rng.uniform(0.1, 0.85))
            turn = 0.0 if side == street.drive_side else np.pi
            for z in np.arange(rng.uniform(3.5, 9), 65, rng.uniform(5.6, 7)):
                lateral = side * (street.half_width - 1.05)
                free = not street.meets_crossing(z - 3, z + 7)
                if rng.random() < full and free:
                    self._add_vehicle(lateral, float(z), turn, parked=True)

    def _add_vehicle(
        self, lateral: float, z: float, turn: float, parked: bool = False
    ) -> None:
        rng, street = self.rng, self.street
        make, wide, long = vehicles.car, 0.95, 2.5
        draw = rng.random()
        if draw > 0.82 and not parked:
            make = vehicles.truck if draw > 0.91 else vehicles.bus
            wide, long = 1.3, 5.5
            z += 3
        spot = self._take(lateral, z, wide, long)
        if spot is not None:
            yaw = street.yaw(z) + turn + float(rng.normal(0, 0.02))
            self._stand(make(spot, yaw))

    def _add_walkers(self) -> None:
        """Add people on the sidewalks and on the pedestrian crossing."""
        rng, street = self.rng, self.street
        for _ in range(int(rng.poisson(9))):
            side = pick(rng, (-1, 1))
            inner, outer = side * street.half_width, street.border(side)
            lateral = inner + float(rng.uniform(0.25, 0.9)) * (outer - inner)
            z = 5 * 12 ** float(rng.random())
            for number in range(1 + int(rng.random() < 0.3)):
                self._add_person(lateral + 0.65 * number, z)
        if street.zebra is not None and rng.random() < 0.6:
            half = street.half_width
            for _ in range(int(rng.integers(1, 5))):
                lateral = float(rng.uniform(-half, half))
                z = street.zebra + float(rng.uniform(-1, 1))
                self._add_person(lateral, z)

    def _add_person(self, lateral: float, z: float) -> None:
        child = self.rng.random() < 0.12
        spot = self._take(lateral, z, 0.3, 0.25)
        if spot is not None:
            self._stand(people.person(spot, child))

    def _add_cyclists(self) -> None:
        """Add two-wheelers along the road, across it and parked."""
        rng, street = self.rng, self.street
        for _ in range(int(rng.poisson(2))):
            lateral = pick(rng, (-1, 1)) * (street.edge - 0.5)
            self._add_cyclist(lateral, float(rng.uniform(5, 32)), False)
        for _ in range(int(rng.poisson(0.6))):
            z = street.zebra or float(rng.uniform(8, 25))
            lateral = float(rng.uniform(-1, 1)) * (street.edge + 0.5)
            self._add_cyclist(lateral, z, True)
        if rng.random() < 0.35:
            side = pick(rng, (-1, 1))
            lateral = street.border(side) - side * 0.9
            z = float(rng.uniform(7, 25))
            self._add_cyclist(lateral, z, True, ridden=False)

    def _add_cyclist(
        self, lateral: float, z: float, sideways: bool, ridden: bool = True
    ) -> None:
        motor = self.rng.random() < 0.3
        wide, long = (1.0, 0.4) if sideways else (0.4, 1.0)
        spot = self._take(lateral, z, wide, long)
        if spot is not None:
            self._stand(*people.cyclist(spot, sideways, motor, ridden))

    def _add_cones(self) -> None:
        rng = self.rng
        if rng.random() < 0.25:
            lateral = pick(rng, (-1, 1)) * (self.street.edge - 0.9)
            start = float(rng.uniform(7, 20))
            for z in start + 1.6 * np.arange(rng.integers(2, 6)):
                spot = self._take(lateral, float(z), 0.25, 0.25)
                if spot is not None:
                    self._stand(furniture.cone(spot))

    def _add_ego(self) -> None:
        """Add the bonnet of our own car, in some scenes."""
        rng = self.rng
        color = random_color(rng, (0.1, 0.8), (0.1, 0.45))
        rise = float(rng.uniform(0.05, 0.11))
        if rng.random() > 0.4:
            return
        width, height = self.view.camera.size
        t = np.linspace(-1, 1, 25)
        arc = np.sqrt(1 - np.abs(t) ** 2.6)
        # In image heights from the middle of the lower edge.
        outline = np.stack((0.66 * t, -rise * arc), -1)
        outline[:, 0] *= min(1, width / height / 1.32)
        middle = np.array((width / 2, height))
        glints = [
            Part.of(middle + outline * height * size, scaled(color, shade))
            for size, shade in ((0.88, 1.25), (0.6, 1.5))
        ]
        bonnet = middle + outline * height
        self._stand(
            Item('ego', bonnet, 1.0, color, glints, grain=0.03, fade=0.2)
        )
