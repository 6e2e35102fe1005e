"""Planar robots as data: links of capsules, joined by hinges; masses and inertias by formula."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Capsule:
    """A cylinder with two half spheres. Coordinates (x, z) in m, in the frame of its link.

    Attributes:
        start: Centre of one half sphere.
        end: Centre of the other.
        radius: m.
    """

    start: Point
    end: Point
    radius: float

    @property
    def length(self) -> float:
        """Length of the cylinder, m."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    @property
    def centre(self) -> np.ndarray:
        """(2,) centre of mass, m."""
        return 0.5 * (np.array(self.start) + np.array(self.end))

    def mass(self, density: float) -> float:
        """Mass in kg at a density in kg/m^3."""
        r = self.radius
        return float(density * np.pi * r**2 * (self.length + 4.0 / 3.0 * r))

    def inertia(self, density: float) -> float:
        """Inertia about the centre across the capsule's axis, kg m^2.

        A cylinder has m (3 r^2 + L^2) / 12. A half sphere has its centre of mass 3/8 r from its
        flat side; moving the inertia 2/5 m r^2 of a sphere's half from there to the capsule's
        centre gives m (2/5 r^2 + L^2 / 4 + 3/8 L r).
        """
        r, length = self.radius, self.length
        cylinder = density * np.pi * r**2 * length
        spheres = density * np.pi * r**3 * 4.0 / 3.0
        return float(
            cylinder * (3.0 * r**2 + length**2) / 12.0
            + spheres * (0.4 * r**2 + 0.25 * length**2 + 0.375 * length * r)
        )


@dataclass(frozen=True)
class Link:
    """A rigid body.

    Attributes:
        name: Of the link and of the hinge that carries it.
        parent: Index of the link it hangs on; -1 for the first.
        hinge: Place of that hinge in the parent's frame, (x, z) in m. It is the origin of the
            link's own frame; the frames of all links are parallel where all angles are 0.
        capsules: Its shape.
    """

    name: str
    parent: int
    hinge: Point
    capsules: tuple[Capsule, ...]


@dataclass(frozen=True)
class PlanarRobot:
    """A tree of links in the vertical plane (x forward, z up).

    Attributes:
        name: Of the system that it belongs to.
        links: The first floats freely; every other comes after its parent.
        axis: Sense of all angles: 1 if positive ones turn about +y (nose down), -1 if about -y.
    """

    name: str
    links: tuple[Link, ...]
    axis: int

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the hinges."""
        return tuple(link.name for link in self.links[1:])

    @cached_property
    def contacts(self) -> list[tuple[int, Point, float]]:
        """Link, centre in its frame (m) and radius (m) of each sphere that can touch the ground."""
        return [
            (index, centre, capsule.radius)
            for index, link in enumerate(self.links)
            for capsule in link.capsules
            for centre in (capsule.start, capsule.end)
        ]

    def bodies(self, densities: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mass properties of K links.

        Args:
            densities: K densities, kg/m^3.

        Returns:
            (K,) masses in kg, (K, 2) centres of mass (x, z) in link frames in m, and (K,) inertias
            about them in kg m^2.
        """
        masses, centres, inertias = [], [], []
        for link, density in zip(self.links, densities, strict=True):
            parts = np.array([capsule.mass(density) for capsule in link.capsules])
            places = np.array([capsule.centre for capsule in link.capsules])
            mass = parts.sum()
            centre = parts @ places / mass
            inertia = sum(capsule.inertia(density) for capsule in link.capsules)
            masses.append(mass)
            centres.append(centre)
            inertias.append(inertia + parts @ np.sum((places - centre) ** 2, axis=1))
        return np.array(masses), np.array(centres), np.array(inertias)
