"""Pictures of planar robots, drawn from the data that the equations use."""

import numpy as np

from sims.bodies.planar_robot import PlanarRobot
from sims.scene import Scene

_HEAD = """
<mujoco model="{name}">
  <compiler angle="radian"/>
  <visual>
    <global offwidth="1280" offheight="960" fovy="40"/>
    <headlight ambient="0.45 0.45 0.48" diffuse="0.35 0.35 0.35" specular="0.1 0.1 0.1"/>
    <map znear="0.02" zfar="40" haze="0.5"/>
    <quality shadowsize="0" offsamples="4"/>
    <rgba haze="0.93 0.96 0.99 1"/>
  </visual>
  <statistic center="0 0 0.8" extent="4"/>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.62 0.76 0.92"
      rgb2="0.93 0.96 0.99" width="64" height="384"/>
    <texture name="grid" type="2d" builtin="checker" rgb1="0.82 0.85 0.88" rgb2="0.76 0.79 0.83"
      mark="edge" markrgb="0.62 0.66 0.71" width="256" height="256"/>
    <material name="grid" texture="grid" texrepeat="0.5 0.5" texuniform="true" specular="0"
      shininess="0"/>
    <material name="trunk" rgba="0.20 0.38 0.72 1" specular="0.4" shininess="0.5"/>
    <material name="limb" rgba="0.95 0.45 0.18 1" specular="0.4" shininess="0.5"/>
    <material name="far_limb" rgba="0.72 0.33 0.14 1" specular="0.4" shininess="0.5"/>
  </asset>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    <light directional="true" pos="0 0 10" dir="-0.3 0.35 -1" diffuse="0.55 0.55 0.52"
      specular="0.2 0.2 0.2" castshadow="false"/>
    <geom name="floor" type="plane" size="0 0 0.1" material="grid"/>
"""
_TAIL = """
  </worldbody>
</mujoco>
"""


def _link(robot: PlanarRobot, index: int, material: str) -> str:
    """A link with all that it carries."""
    link = robot.links[index]
    axis = f"0 {robot.axis} 0"
    x, z = link.hinge
    joints = f'<joint type="hinge" axis="{axis}"/>'
    if index == 0:
        slides = '<joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>'
        joints = slides + joints
    capsules = "".join(
        f'<geom type="capsule" size="{c.radius}" material="{material}" '
        f'fromto="{c.start[0]} 0 {c.start[1]} {c.end[0]} 0 {c.end[1]}"/>'
        for c in link.capsules
    )
    children = [k for k, other in enumerate(robot.links) if other.parent == index]
    if index == 0:
        shades = {k: "far_limb" if n else "limb" for n, k in enumerate(reversed(children))}
    else:
        shades = dict.fromkeys(children, material)
    carried = "".join(_link(robot, k, shades[k]) for k in children)
    return f'<body name="{link.name}" pos="{x} 0 {z}">{joints}{capsules}{carried}</body>'


def planar_scene(robot: PlanarRobot, dt: float) -> Scene:
    """The capsules of a robot on the ground; the camera runs along.

    Args:
        robot: The robot.
        dt: Control period in seconds, to integrate the forward speed with.
    """
    coordinates = len(robot.links) + 1  # those in the state

    def way(states: np.ndarray) -> np.ndarray:
        """(T,) m that the robot has come forward."""
        speed = np.asarray(states[:, coordinates], np.float64)
        return np.concatenate([[0.0], np.cumsum(0.5 * dt * (speed[:-1] + speed[1:]))])

    def pose(states: np.ndarray) -> np.ndarray:
        return np.concatenate([way(states)[:, None], states[:, :coordinates]], axis=1)

    def focus(states: np.ndarray) -> np.ndarray:
        x = way(states)
        return np.stack([x, np.zeros_like(x), np.full_like(x, 0.7)], axis=1)

    def caption(state: np.ndarray) -> str:
        return f"{state[coordinates]:.1f} m/s"

    return Scene(
        xml=_HEAD.format(name=robot.name) + _link(robot, 0, "trunk") + _TAIL,
        pose=pose,
        focus=focus,
        caption=caption,
        azimuth=90.0,
        elevation=-12.0,
        distance=3.2,
        follow=True,
    )
