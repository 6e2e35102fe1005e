"""Small MuJoCo systems for tests of the engine, and differences to compare with."""

import numpy as np

from sims.bodies import mrp
from sims.engines.mujoco_factors import MujocoFactors
from sims.engines.mujoco_state import Layout
from sims.engines.mujoco_system import METHODS, MujocoSystem
from sims.space import Space

SPRING = """
<mujoco><option timestep="0.01" gravity="0 0 0" {option}/>
  <worldbody><body>
    <joint name="x" type="slide" axis="1 0 0" stiffness="{k}" damping="{c}" armature="0.5"/>
    <geom type="sphere" size="0.1" mass="2"/>
  </body></worldbody>
  <actuator><motor joint="x" gear="3" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""
# an arm of three hinges in 3-D on a slide, with servos of two kinds and a spring
ARM = """
<mujoco><option timestep="0.005" {option}/>
  <worldbody><body name="cart">
    <joint type="slide" axis="1 0 0" damping="0.3"/>
    <geom type="box" size="0.2 0.1 0.1" mass="1.5"/>
    <body name="upper" pos="0 0 0.1">
      <joint type="hinge" axis="0 1 0" damping="0.1" stiffness="2" springref="0.4"/>
      <geom type="capsule" fromto="0 0 0 0.1 0 0.5" size="0.04"/>
      <body name="lower" pos="0.1 0 0.5">
        <joint name="elbow" type="hinge" axis="1 0 0.3"/>
        <geom type="capsule" fromto="0 0 0 0 0.3 0.2" size="0.03"/>
        <body name="hand" pos="0 0.3 0.2"><joint name="wrist" type="hinge" axis="0 1 1"/>
          <geom type="box" size="0.1 0.05 0.02" mass="0.3"/></body>
      </body>
    </body>
  </body></worldbody>
  <actuator><position joint="elbow" kp="5" kv="0.2"/><motor joint="wrist" gear="0.4"/></actuator>
</mujoco>"""
BODY = """
<mujoco><option timestep="0.01" gravity="0 0 -9.81" integrator="{integrator}"/>
  <worldbody><body>
    <freejoint/><inertial pos="0 0 0" mass="2" diaginertia="{inertia}"/>
    <site name="rotor" pos="0.2 0.1 0"/>
  </body></worldbody>
  <actuator><general site="rotor" gear="0 0 1 0 0.2 0.1" gainprm="2"/></actuator>
</mujoco>"""


class Own(MujocoSystem):
    """Any MJCF as a system whose reward is a fixed quadratic form of the next state."""

    def __init__(self, mjcf, n, m, dt, layout=lambda model: Layout(), mrp_at=None):
        super().__init__(
            name="own",
            description="",
            state=space("s", n),
            action=space("a", m),
            dt=dt,
            horizon=100,
            attitude=None,
            reward_description="",
            safe_action=np.zeros(m, np.float32),
            parameter_sets={"nominal": MujocoFactors(), "real": MujocoFactors()},
            methods=METHODS,
        )
        self.__dict__["own"] = (mjcf, layout, mrp_at)

    def _mjcf(self):
        return self.own[0]

    def _layout(self, model):
        return self.own[1](model)

    def _starts(self, rng, parameters, count):
        raise NotImplementedError

    def reward(self, state, action, next_state, parameters=None):
        return np.sum(next_state**2, axis=-1) + 0.5 * np.sum(action**2, axis=-1)

    def align(self, state, reference):
        at = self.own[2]
        if at is None:
            return state
        aligned = np.array(state)
        aligned[..., at] = mrp.align(state[..., at], reference[..., at])
        return aligned


def space(letter, n):
    names = tuple(f"{letter}{i}" for i in range(n))
    one = np.ones(n)
    return Space(names, ("1",) * n, -np.inf * one, np.inf * one, 0.0 * one, one)


def spring(k=40.0, c=3.0, option="", dt=0.03, layout=lambda model: Layout()):
    return Own(SPRING.format(k=k, c=c, option=option), 2, 1, dt, layout)


def arm(option="", dt=0.02):
    return Own(ARM.format(option=option), 8, 2, dt)


def naive(step, state, action, reference=None, align=None, h=1e-5):
    """[A | B] by differences of a step in float64, coordinate by coordinate."""
    n, columns = len(state), []
    point = np.concatenate([state, action])
    for e in h * np.eye(len(point)):
        ends = [step((point + d)[:n], (point + d)[n:]) for d in (e, -e)]
        if align is not None:
            ends = [align(end, reference) for end in ends]
        columns.append((ends[0] - ends[1]) / (2.0 * h))
    return np.stack(columns, axis=1)


def stacked(linearization):
    return np.hstack([linearization.A, linearization.B])


FREE = slice(3, 6)


def free_body(integrator="Euler", inertia="0.1 0.2 0.25", layout=lambda model: Layout()):
    return Own(BODY.format(integrator=integrator, inertia=inertia), 12, 1, 0.05, layout, FREE)


FLOOR = """
<mujoco><option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="0 0 1"/>
    <body pos="0 0 0.1"><joint type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.1" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="{name}"/></actuator>
</mujoco>"""


# a box with an unfinished solver: what it finds depends on where it starts
BOX = """
<mujoco><option timestep="0.005" solver="CG" iterations="2"/>
  <worldbody>
    <geom type="plane" size="0 0 1"/>
    <body pos="0 0 0.1"><freejoint/>
      <geom type="box" size="0.2 0.15 0.1" mass="1"/><site name="top" pos="0.1 0.05 0.1"/></body>
  </worldbody>
  <actuator><general site="top" gear="0 1 0 0 0 0"/></actuator>
</mujoco>"""


def ball():
    text = FLOOR.replace('axis="0 0 1"', 'axis="0 0 1" name="z"').format(name="z")
    return Own(text, 2, 1, 0.02)


def muscle():
    text = SPRING.format(k=1, c=1, option="").replace("motor", 'muscle lengthrange="-1 1"')
    return Own(text, 2, 1, 0.01)


def box():
    return Own(BOX, 12, 1, 0.02, mrp_at=FREE)
