"""The learner's thread: joins what arrives, learns, hands out policies and credits. No ROS here."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepilc.config import TrainConfig, starting_from
from deepilc.errors import UserError
from deepilc.intake import Joined
from deepilc.learner import Learner, block_ends
from deepilc.run import RunFolder
from deepilc.train import Keeper
from deepilc.transition import Transition
from deepilc_ros.drive import Credit
from deepilc_ros.stream import Stream
from sims.model import Linearization

__all__ = ["Folder", "LearningThread", "Timing", "open_learner"]

PACE_PERIOD = 0.1  # s between paces in real time, where only a restarting bridge reads them
MANY_HELD = 1000  # transitions held back for which a pace takes twice as long
IDLE_WAIT = 0.05  # s
SAVE_AGAIN = 5.0  # s until a checkpoint that could not be written is tried again
INBOX = 20_000  # messages that may wait; what is dropped is asked for again


@dataclass(frozen=True)
class Timing:
    """How the learner keeps pace.

    Attributes:
        lockstep: Credits and policies by transition numbers; otherwise by the clock.
        jacobian_timeout: Seconds that a row waits for its Jacobian, and a run that begins for the
            Jacobian server; infinity waits for ever.
        policy_period: Real time: least seconds between two policies.
    """

    lockstep: bool
    jacobian_timeout: float
    policy_period: float


class Folder(RunFolder):
    """A run folder that remembers the newest metrics, for the status message."""

    latest: Mapping[str, Any] = {}  # replaced, never changed

    def add_metrics(self, row: Mapping[str, Any], step: int | None = None) -> None:
        """See `RunFolder.add_metrics`."""
        self.latest = row
        super().add_metrics(row, step)


def open_learner(
    config: TrainConfig,
    path: Path,
    initial: Path | None,
    *,
    lockstep: bool,
    robots: Sequence[str] = ("",),
) -> tuple[Learner, Folder]:
    """The learner of a run folder: where its checkpoint left off, or a new one.

    Args:
        config: Settings of the run.
        path: Run folder; made if it is not there.
        initial: Run folder, checkpoint or policy that a new run starts from (see
            `Learner.start_from`).
        lockstep: See `Learner`.
        robots: See `Learner`.

    Raises:
        UserError: The folder is something else, or holds a run with other settings.
    """
    if not (path / "run.json").exists():
        Folder.create(path, config=config.model_dump(mode="json"))
    folder = Folder.resume(path)
    if not folder.has_checkpoint:
        config = starting_from(config, initial)
        folder.write_config(config.model_dump(mode="json"))
        learner = Learner(config, folder.name, lockstep=lockstep, robots=robots)
        if initial is not None:
            started = learner.start_from(initial)
            started.write(folder.path)
            print(*started.lines, sep="\n", flush=True)  # to the node's log
        folder.rewind({}, 0)
        return learner, folder
    learner = Learner.resume(folder.checkpoint, lockstep=lockstep)
    if config.agent.burn_in is None:  # what it began with counts
        agent = {"burn_in": learner.config.agent.burn_in}
        config = config.model_copy(update={"agent": config.agent.model_copy(update=agent)})
    there, here = learner.config.model_dump(), config.model_dump()
    different = [key for key in here if here[key] != there[key]]
    if different:
        key = different[0]
        raise UserError(
            f"run {path} was begun with {key} = {there[key]}, the parameter is {here[key]}; "
            "go on with the settings in its config.yaml or begin a new run"
        )
    if learner.robots.names != tuple(robots):
        raise UserError(
            f"run {path} was begun with {_listed(learner.robots.names)}, the parameter robots "
            f"names {_listed(robots)}; go on with the same, or begin a new run"
        )
    if learner.run != folder.name:
        raise UserError(
            f"the run in {path} is called {learner.run!r}: give the folder its old name back"
        )
    episodes = {robot: progress.episode for robot, progress in learner.robots.progresses.items()}
    folder.rewind(episodes, learner.robots.trained)
    return learner, folder


def _listed(robots: Sequence[str]) -> str:
    return "one robot" if tuple(robots) == ("",) else ", ".join(robots)


class LearningThread(threading.Thread):
    """Runs a `Learner` beside the executor.

    Other threads call the methods of the first section and read the attributes; everything else
    happens in here.

    Args:
        learner: What learns.
        folder: Receives metrics, episodes, policies and checkpoints.
        timing: See `Timing`.
        publish_policy: Called with the learner when it has a new policy.
        publish_pace: Called with each credit and its robot.
        counters: Receives what was lost and made up for.

    Attributes:
        streams: Robot to what is on the way from it.
        finished: All updates of the plan are made and the checkpoint is written.
        failure: What ended the thread, if anything did.
        policy_at: When the newest policy was published, on the monotonic clock.
    """

    def __init__(
        self,
        learner: Learner,
        folder: Folder,
        timing: Timing,
        publish_policy: Callable[[Learner], None],
        publish_pace: Callable[[Credit, str], None],
        counters: Counter[str],
    ) -> None:
        super().__init__(name="learning", daemon=True)
        self.learner = learner
        self.folder = folder
        self.counters = counters
        self.finished = False
        self.failure: BaseException | None = None
        self._unwritten: dict[str, str] = {}  # what to why
        self._save_again = -math.inf
        self.policy_at = time.monotonic()
        self.received = 0
        self._timing = timing
        self._publish_policy = publish_policy
        self._publish_pace = publish_pace
        self._keeper = Keeper(learner, folder)
        timeout = timing.jacobian_timeout if learner.config.agent.value_gradient else None
        self.streams = {
            robot: Stream(learner, robot, timeout, counters) for robot in learner.robots.names
        }
        self._inbox: deque[Transition | tuple[str, int, Linearization]] = deque()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._saving = threading.Event()
        self._open = threading.Event()

    # --- called by other threads ------------------------------------------------------------

    def transition(self, transition: Transition) -> None:
        """A transition has arrived."""
        self._put(transition)

    def linearization(self, number: int, linearization: Linearization, robot: str = "") -> None:
        """A linearization has arrived."""
        self._put((robot, number, linearization))

    def _put(self, item: Transition | tuple[str, int, Linearization]) -> None:
        if len(self._inbox) >= INBOX:
            self.counters["messages dropped: inbox full"] += 1
        else:
            self._inbox.append(item)
        self._news.set()

    def bridge_at(self, number: int, robot: str = "", *, finished: bool = False) -> None:
        """A bridge says which number comes next, and whether its plan is complete."""
        stream = self.streams[robot]
        stream.bridge_number, stream.bridge_finished = number, finished
        self._news.set()

    def history_begins_at(self, number: int, robot: str = "") -> None:
        """A bridge keeps no transitions before this one."""
        self.streams[robot].history_start = number
        self._news.set()

    def open_credits(self) -> None:
        """Whoever is needed is there: the run may begin."""
        self._open.set()
        self._news.set()

    def request_stop(self) -> None:
        """Finish the update under way, save, and end the thread."""
        self._stopping.set()
        self._news.set()

    def request_save(self) -> None:
        """Write a checkpoint as soon as the run is at a point to go on from."""
        self._saving.set()
        self._news.set()

    @property
    def unwritten(self) -> str:
        """What cannot be written, and why; empty if all was.

        In real time, where a robot may be flying, a full disk does not end the learning.
        """
        return next(iter(self._unwritten.copy().values()), "")

    @property
    def waiting(self) -> int:
        """Messages that have not been looked at."""
        return len(self._inbox)

    # --- the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Until the plan is complete or a stop is requested."""
        try:
            self._write("policy", self._keeper.publish)
            self._announce()
            complete = self._learn()
            while not (self._save() or self._stopping.wait(SAVE_AGAIN)):
                pass
            if "checkpoint" in self._unwritten:  # no user's error: those end all nodes
                raise OSError(self.unwritten)
            self.finished = complete
        except BaseException as error:
            self.failure = error

    def _learn(self) -> bool:
        """Returns whether the plan is complete."""
        lockstep = self._timing.lockstep
        latest = time.monotonic() + self._timing.jacobian_timeout
        while not (self._open.is_set() or self._stopping.is_set() or time.monotonic() > latest):
            self._news.wait(IDLE_WAIT)
            self._news.clear()
            self._receive()
        if lockstep:
            self._close_block()  # a checkpoint may lie between a block's end and its updates
        while not self._stopping.is_set():
            busy = self._lockstep_round() if lockstep else self._real_time_round()
            if self._complete():
                return True
            if not busy:
                self._news.wait(IDLE_WAIT)
                self._news.clear()
        return False

    def _complete(self) -> bool:
        if self._timing.lockstep and self.learner.updates_due > 0:
            return False
        return all(stream.complete for stream in self.streams.values())

    def _lockstep_round(self) -> bool:
        """As the in-process run: after each row its updates, after each block a policy."""
        self._receive()
        busy = False
        (stream,) = self.streams.values()
        for joined in stream.intake.ready(time.monotonic()):
            busy = True
            self._add(joined, stream)
            self._close_block()
            if self._stopping.is_set():
                break
        return busy

    def _close_block(self) -> None:
        """Makes the updates that are due; at a block's end also the policy and the credit."""
        learner = self.learner
        (stream,) = self.streams.values()
        while learner.updates_due > 0:
            if self._stopping.is_set():
                return
            learner.update()
        if block_ends(learner.progress, learner.config.policy_interval):
            if self._keeper.close_block():
                self._announce()
            self._save_if_asked()
            self._pace(stream)
        elif stream.paced_at[0] < 0:
            self._pace(stream)  # resumed within a block

    def _real_time_round(self) -> bool:
        """Takes what is there, makes at most one update, hands out a policy when it is time."""
        self._receive()
        now = time.monotonic()
        for stream in self.streams.values():
            for joined in stream.intake.ready(now):
                self._add(joined, stream)
            number, at = stream.paced_at
            # looking ahead takes its time
            period = PACE_PERIOD * (1.0 + len(stream.intake) / MANY_HELD)
            if now - at >= period and stream.ahead().number > number:
                self._pace(stream)
        busy = self.learner.updates_due > 0
        if busy:
            self.learner.update()
        if now - self.policy_at >= self._timing.policy_period:
            version = self.learner.version
            self._write("policy", self._keeper.export)
            if self.learner.version > version:
                self._announce()
            if self._keeper.checkpoint_due and now >= self._save_again:
                self._save()
        self._save_if_asked()
        return busy

    def _save_if_asked(self) -> None:
        if self._saving.is_set():
            self._saving.clear()
            self._save()

    def _save(self) -> bool:
        self._save_again = time.monotonic() + SAVE_AGAIN
        return self._write("checkpoint", self._keeper.save)

    def _write(self, what: str, write: Callable[[], object]) -> bool:
        """Writes something into the run folder; returns whether it could.

        Raises:
            UserError: It could not, in lockstep, where nobody waits for the next action.
        """
        try:
            write()
        except UserError as error:
            if self._timing.lockstep:
                raise
            self._unwritten[what] = str(error)
            self.counters["files not written"] += 1
            return False
        self._unwritten.pop(what, None)
        return True

    def _add(self, joined: Joined, stream: Stream) -> None:
        stream.taken(joined.transition.number)
        if (episode := self.learner.add(joined)) is not None:
            of = {"robot": stream.robot} if stream.robot else {}
            self._write("episode", partial(self.folder.add_episode, {**of, **episode.row}))
            if episode.mode == "eval" and self._timing.lockstep:  # else other networks flew it
                self._keeper.judge(episode.episode_return)
        self.received += 1

    # --- in ---------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Sorts the inbox, and notes what is missing."""
        now = time.monotonic()
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Transition):
                self.streams[self.learner.robots.of(item)].transition(item, now)
            else:
                robot, number, linearization = item
                self.streams[robot].linearization(number, linearization)
        for stream in self.streams.values():
            stream.note_missing(now)
        intakes = [stream.intake for stream in self.streams.values()]
        self.counters["messages received twice"] = sum(i.duplicates for i in intakes)
        self.counters["messages dropped: intake full"] = sum(i.dropped for i in intakes)

    # --- out --------------------------------------------------------------------------------

    def _announce(self) -> None:
        self.policy_at = time.monotonic()
        self._publish_policy(self.learner)

    def _pace(self, stream: Stream) -> None:
        progress, interval = stream.ahead(), self.learner.config.policy_interval
        stream.paced_at = progress.number, time.monotonic()
        lockstep = self._timing.lockstep
        self._publish_pace(
            Credit(
                progress,
                up_to=(progress.number // interval + 1) * interval,
                policy_version=self.learner.version if lockstep else 0,
            ),
            stream.robot,
        )
