"""Messages to the library's objects and back.

Arrays go out as `array.array` (assigning a numpy array costs forty times as much and is refused by
field checking) and come in by `np.frombuffer`, copied where they outlive the message.
"""

from array import array

import numpy as np
from builtin_interfaces.msg import Time

from deepilc.plan import Progress
from deepilc.transition import Mode, Observation, Source, Transition
from deepilc_msgs.msg import Linearization as LinearizationMsg
from deepilc_msgs.msg import Observation as ObservationMsg
from deepilc_msgs.msg import Pace as PaceMsg
from deepilc_msgs.msg import Transition as TransitionMsg
from deepilc_ros.drive import Credit
from sims.model import Linearization
from sims.system import System

__all__ = [
    "BadMessageError",
    "floats",
    "numbers",
    "read_linearization",
    "read_observation",
    "read_pace",
    "read_transition",
    "write_linearization",
    "write_observation",
    "write_pace",
    "write_transition",
]


class BadMessageError(ValueError):
    """A message that does not fit; the text is the reason, short enough to count by."""


def floats(values: np.ndarray) -> array:
    """A numpy array as a float32 message field, row by row."""
    return array("f", np.ascontiguousarray(values, np.float32).tobytes())


def numbers(field: array, size: int, name: str) -> np.ndarray:
    """A float32 message field as a numpy array (size,) of its own.

    Raises:
        BadMessageError: Another length.
    """
    if len(field) != size:
        raise BadMessageError(f"wrong size of {name}")
    return np.array(field, np.float32)


def write_observation(
    observation: Observation, run: str, spec_hash: str, stamp: Time
) -> ObservationMsg:
    """For the wire."""
    message = ObservationMsg(
        run=run,
        number=observation.number,
        episode=observation.episode,
        step=observation.step,
        mode=int(observation.mode),
        spec_hash=spec_hash,
        policy_version=observation.policy_version,
        state=floats(observation.state),
    )
    message.header.stamp = stamp
    return message


def read_observation(message: ObservationMsg, system: System) -> Observation:
    """From the wire.

    Raises:
        BadMessageError: It does not fit the system.
    """
    return Observation(
        message.number,
        message.episode,
        message.step,
        Mode(message.mode),
        message.policy_version,
        numbers(message.state, system.state.size, "state"),
    )


def write_transition(
    transition: Transition, run: str, spec_hash: str, policy_hash: str, stamp: Time
) -> TransitionMsg:
    """For the wire."""
    message = TransitionMsg(
        run=run,
        robot=transition.robot,
        number=transition.number,
        episode=transition.episode,
        step=transition.step,
        mode=int(transition.mode),
        spec_hash=spec_hash,
        policy_version=transition.policy_version,
        policy_hash=policy_hash,
        state=floats(transition.state),
        action_requested=floats(transition.action_requested),
        action_applied=floats(transition.action_applied),
        reward=transition.reward,
        next_state=floats(transition.next_state),
        terminated=transition.terminated,
        truncated=transition.truncated,
        intervention=transition.intervention,
        source=int(transition.source),
        guard_reason=transition.guard_reason,
        dt=transition.dt,
        action_latency=transition.action_latency,
        excluded=transition.excluded,
    )
    message.header.stamp = stamp
    return message


def read_transition(message: TransitionMsg, system: System) -> Transition:
    """From the wire.

    Raises:
        BadMessageError: It does not fit the system.
    """
    n, m = system.state.size, system.action.size
    return Transition(
        number=message.number,
        episode=message.episode,
        step=message.step,
        mode=Mode(message.mode),
        state=numbers(message.state, n, "state"),
        action_requested=numbers(message.action_requested, m, "action_requested"),
        action_applied=numbers(message.action_applied, m, "action_applied"),
        reward=message.reward,
        next_state=numbers(message.next_state, n, "next_state"),
        terminated=message.terminated,
        truncated=message.truncated,
        intervention=message.intervention,
        source=Source(message.source),
        guard_reason=message.guard_reason,
        dt=message.dt,
        policy_version=message.policy_version,
        action_latency=message.action_latency,
        robot=message.robot,
        excluded=message.excluded,
    )


def write_linearization(
    number: int, linearization: Linearization, run: str, model_hash: str, stamp: Time
) -> LinearizationMsg:
    """For the wire; one row."""
    message = LinearizationMsg(
        run=run,
        number=number,
        model_hash=model_hash,
        valid=bool(linearization.valid),
        state_jacobian=floats(linearization.A),
        action_jacobian=floats(linearization.B),
        reward_state_gradient=floats(linearization.r_s),
        reward_action_gradient=floats(linearization.r_a),
    )
    message.header.stamp = stamp
    return message


def read_linearization(message: LinearizationMsg, system: System) -> Linearization:
    """From the wire.

    Raises:
        BadMessageError: It does not fit the system.
    """
    n, m = system.state.size, system.action.size
    return Linearization(
        A=numbers(message.state_jacobian, n * n, "state_jacobian").reshape(n, n),
        B=numbers(message.action_jacobian, n * m, "action_jacobian").reshape(n, m),
        r_s=numbers(message.reward_state_gradient, n, "reward_state_gradient"),
        r_a=numbers(message.reward_action_gradient, m, "reward_action_gradient"),
        valid=np.bool_(message.valid),
    )


def write_pace(credit: Credit, run: str, stamp: Time) -> PaceMsg:
    """For the wire."""
    progress = credit.progress
    message = PaceMsg(
        run=run,
        up_to=credit.up_to,
        policy_version=credit.policy_version,
        next_number=progress.number,
        next_episode=progress.episode,
        next_step=progress.step,
        train_transitions=progress.train_transitions,
        evaluation_episodes=progress.evaluation_episodes,
        mode=int(progress.mode),
    )
    if progress.state is not None and progress.action is not None:
        message.state = floats(progress.state)
        message.previous_action = floats(progress.action)
    message.header.stamp = stamp
    return message


def read_pace(message: PaceMsg, system: System) -> Credit:
    """From the wire.

    Raises:
        BadMessageError: It does not fit the system.
    """
    state = action = None
    if message.next_step > 0:
        state = numbers(message.state, system.state.size, "state")
        action = numbers(message.previous_action, system.action.size, "previous_action")
    progress = Progress(
        number=message.next_number,
        episode=message.next_episode,
        step=message.next_step,
        train_transitions=message.train_transitions,
        evaluation_episodes=message.evaluation_episodes,
        mode=Mode(message.mode),
        state=state,
        action=action,
    )
    return Credit(progress, message.up_to, message.policy_version)
