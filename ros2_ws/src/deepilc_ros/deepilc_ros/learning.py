"""The learner's thread: joins what arrives, learns, hands out policies and credits. No ROS here."""

import math
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from deepilc.config import TrainConfig
from deepilc.errors import UserError
from deepilc.intake import Intake, Joined
from deepilc.learner import Learner, block_ends
from deepilc.plan import Progress
from deepilc.run import RunFolder
from deepilc.train import Keeper
from deepilc.transition import Transition
from deepilc_ros.drive import Credit
from sims.model import Linearization

__all__ = ["Folder", "LearningThread", "Timing", "open_learner"]

PATIENCE = 0.3  # s that a message may be on its way before it is asked for
PACE_PERIOD = 0.1  # s between paces in real time, where only a restarting bridge reads them
MANY_HELD = 1000  # transitions held back for which a pace takes twice as long
IDLE_WAIT = 0.05  # s
SAVE_AGAIN = 2.0  # s between attempts to write the last checkpoint of a run
LARGEST_REQUEST = 512  # linearizations asked for at a time
INBOX = 20_000  # messages that may wait; what is dropped is asked for again
REMEMBERED = 20_000  # rows without Jacobian that are kept in order to ask for it; about 1 kB each


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
    config: TrainConfig, path: Path, initial: Path | None, *, lockstep: bool
) -> tuple[Learner, Folder]:
    """The learner of a run folder: where its checkpoint left off, or a new one.

    Args:
        config: Settings of the run.
        path: Run folder; made if it is not there.
        initial: Checkpoint or policy that a new run starts from (see `Learner.start_from`).
        lockstep: See `Learner`.

    Raises:
        UserError: The folder is something else, or holds a run with other settings.
    """
    if not (path / "run.json").exists():
        Folder.create(path, config=config.model_dump(mode="json"))
    folder = Folder.resume(path)
    if not folder.has_checkpoint:
        learner = Learner(config, folder.name, lockstep=lockstep)
        if initial is not None:
            started = learner.start_from(initial)
            started.write(folder.path)
            print(*started.lines, sep="\n", flush=True)  # to the node's log
        folder.rewind(0, 0)
        return learner, folder
    learner = Learner.resume(folder.checkpoint, lockstep=lockstep)
    there, here = learner.config.model_dump(), config.model_dump()
    different = [key for key in here if here[key] != there[key]]
    if different:
        key = different[0]
        raise UserError(
            f"run {path} was begun with {key} = {there[key]}, the parameter is {here[key]}; "
            "go on with the settings in its config.yaml or begin a new run"
        )
    if learner.run != folder.name:
        raise UserError(
            f"the run in {path} is called {learner.run!r}: give the folder its old name back"
        )
    folder.rewind(learner.progress.episode, learner.progress.train_transitions)
    return learner, folder


class LearningThread(threading.Thread):
    """Runs a `Learner` beside the executor.

    Other threads call the methods of the first section and read the attributes; everything else
    happens in here.

    Args:
        learner: What learns.
        folder: Receives metrics, episodes, policies and checkpoints.
        timing: See `Timing`.
        publish_policy: Called with the learner when it has a new policy.
        publish_pace: Called with each credit.
        counters: Receives what was lost and made up for.

    Attributes:
        wanted_transitions: First and last number of transitions that are missing, or None.
        wanted_linearizations: Transitions that have waited long for theirs.
        finished: All updates of the plan are made and the checkpoint is written.
        failure: What ended the thread, if anything did.
        unwritten: What could not be written last, and why; empty if all was. In real time, where a
            robot may be flying, a full disk does not end the learning.
        policy_at: When the newest policy was published, on the monotonic clock.
    """

    def __init__(
        self,
        learner: Learner,
        folder: Folder,
        timing: Timing,
        publish_policy: Callable[[Learner], None],
        publish_pace: Callable[[Credit], None],
        counters: Counter[str],
    ) -> None:
        super().__init__(name="learning", daemon=True)
        self.learner = learner
        self.folder = folder
        self.counters = counters
        self.wanted_transitions: tuple[int, int] | None = None
        self.wanted_linearizations: list[Transition] = []
        self.finished = False
        self.failure: BaseException | None = None
        self.unwritten = ""
        self.policy_at = time.monotonic()
        self.received = 0
        self._timing = timing
        self._publish_policy = publish_policy
        self._publish_pace = publish_pace
        self._keeper = Keeper(learner, folder)
        self._needs_jacobians = learner.config.agent.value_gradient
        self._intake = Intake(
            learner.progress.number, timing.jacobian_timeout if self._needs_jacobians else None
        )
        self._inbox: deque[Transition | tuple[int, Linearization]] = deque()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._saving = threading.Event()
        self._open = threading.Event()
        self._bridge_number = 0
        self._bridge_finished = False
        self._history_start = 0
        self._behind_since: float | None = None
        self._bare: OrderedDict[int, tuple[Transition, float]] = OrderedDict()
        self._early: set[int] = set()
        self._forgotten = set(learner.waiting_for_jacobian)  # rows of the checkpoint
        self._paced_at = (-1, 0.0)

    # --- called by other threads ------------------------------------------------------------

    def transition(self, transition: Transition) -> None:
        """A transition has arrived."""
        self._put(transition)

    def linearization(self, number: int, linearization: Linearization) -> None:
        """A linearization has arrived."""
        self._put((number, linearization))

    def _put(self, item: Transition | tuple[int, Linearization]) -> None:
        if len(self._inbox) >= INBOX:
            self.counters["messages dropped: inbox full"] += 1
        else:
            self._inbox.append(item)
        self._news.set()

    def bridge_at(self, number: int, *, finished: bool = False) -> None:
        """The bridge says which number comes next, and whether its plan is complete."""
        self._bridge_number = number
        self._bridge_finished = finished
        self._news.set()

    def history_begins_at(self, number: int) -> None:
        """The bridge keeps no transitions before this one."""
        self._history_start = number
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
    def waiting(self) -> int:
        """Messages that have not been looked at."""
        return len(self._inbox)

    # --- the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Until the plan is complete or a stop is requested."""
        try:
            self._keeper.publish()
            self._announce()
            complete = self._learn()
            while not (self._write(self._keeper.save) or self._stopping.wait(SAVE_AGAIN)):
                pass
            if self.unwritten:
                raise UserError(self.unwritten)
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
        learner = self.learner
        if self._timing.lockstep and learner.updates_due > 0:
            return False
        if learner.config.plan.mode(learner.progress) is None:
            return True
        # In real time the bridge also counts the transitions that were lost on the way.
        intake = self._intake
        all_taken = not len(intake) and intake.next_number >= self._bridge_number
        return not self._timing.lockstep and self._bridge_finished and all_taken

    def _lockstep_round(self) -> bool:
        """As the in-process run: after each row its updates, after each block a policy."""
        self._receive()
        busy = False
        for joined in self._intake.ready(time.monotonic()):
            busy = True
            self._add(joined)
            self._close_block()
            if self._stopping.is_set():
                break
        return busy

    def _close_block(self) -> None:
        """Makes the updates that are due; at a block's end also the policy and the credit."""
        learner = self.learner
        while learner.updates_due > 0:
            if self._stopping.is_set():
                return
            learner.update()
        if block_ends(learner.progress, learner.config.policy_interval):
            if self._keeper.close_block():
                self._announce()
            self._save_if_asked()
            self._pace()
        elif self._paced_at[0] < 0:
            self._pace()  # resumed within a block

    def _real_time_round(self) -> bool:
        """Takes what is there, makes at most one update, hands out a policy when it is time."""
        self._receive()
        now = time.monotonic()
        for joined in self._intake.ready(now):
            self._add(joined)
        number, at = self._paced_at
        period = PACE_PERIOD * (1.0 + len(self._intake) / MANY_HELD)  # looking ahead takes its time
        if now - at >= period and self._ahead().number > number:
            self._pace()
        busy = self.learner.updates_due > 0
        if busy:
            self.learner.update()
        if now - self.policy_at >= self._timing.policy_period:
            version = self.learner.version
            self._write(self._keeper.close_block)
            if self.learner.version > version:
                self._announce()
        self._save_if_asked()
        return busy

    def _save_if_asked(self) -> None:
        if self._saving.is_set():
            self._saving.clear()
            self._write(self._keeper.save)

    def _write(self, write: Callable[[], object]) -> bool:
        """Writes into the run folder; returns whether it could.

        Raises:
            UserError: It could not, in lockstep, where nobody waits for the next action.
        """
        try:
            write()
        except UserError as error:
            if self._timing.lockstep:
                raise
            self.unwritten = str(error)
            self.counters["files not written"] += 1
            return False
        self.unwritten = ""
        return True

    def _add(self, joined: Joined) -> None:
        learner, number = self.learner, joined.transition.number
        if number > learner.progress.number:  # lost for ever, and counted
            learner.progress = replace(learner.progress, number=number)
        if (episode := learner.add(joined)) is not None:
            self._write(partial(self.folder.add_episode, episode.row))
            if episode.mode == "eval" and self._timing.lockstep:  # else other networks flew it
                self._keeper.judge(episode.episode_return)
        self.received += 1
        self._early.discard(number)

    # --- in ---------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Sorts the inbox, and notes what is missing."""
        now = time.monotonic()
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Transition):
                self._take_transition(item, now)
            else:
                self._take_linearization(*item)
        self._note_missing(now)
        self.counters["messages received twice"] = self._intake.duplicates
        self.counters["messages dropped: intake full"] = self._intake.dropped

    def _take_transition(self, transition: Transition, now: float) -> None:
        number = transition.number
        if number in self._forgotten:
            self._forgotten.discard(number)
            self._remember(transition, -math.inf)
            self._bare.move_to_end(number, last=False)  # it has waited longest
            return
        taken = self._intake.add_transition(transition, now)
        if taken and transition.trains and self._needs_jacobians:
            if number in self._early:
                self._early.discard(number)
            elif number not in self._bare:
                self._remember(transition, now)

    def _remember(self, transition: Transition, arrived: float) -> None:
        """Keeps a row in order to ask for its Jacobian; of too many the oldest is given up."""
        if len(self._bare) >= REMEMBERED:
            self._bare.popitem(last=False)
            self.counters["rows given up: too many without Jacobian"] += 1
        self._bare[transition.number] = transition, arrived

    def _take_linearization(self, number: int, linearization: Linearization) -> None:
        unknown = self._bare.pop(number, None) is None and number >= self._intake.next_number
        if unknown and len(self._early) < REMEMBERED:
            self._early.add(number)
        if not self._intake.add_linearization(number, linearization):
            self.learner.backfill(number, linearization)

    def _note_missing(self, now: float) -> None:
        intake = self._intake
        gap = intake.missing()
        if gap is not None and gap[1] < self._history_start:
            self.counters["transitions lost"] += intake.give_up_missing()
            self._early = {number for number in self._early if number >= intake.next_number}
            gap = intake.missing()
        if gap is None and not len(intake) and self._bridge_number > intake.next_number:
            if self._behind_since is None:
                self._behind_since = now
            if now - self._behind_since > PATIENCE:
                gap = intake.next_number, self._bridge_number - 1
        else:
            self._behind_since = None
        self._forgotten = {n for n in self._forgotten if n >= self._history_start}
        if gap is None and self._forgotten:
            gap = min(self._forgotten), max(self._forgotten)
        self.wanted_transitions = gap
        late: list[Transition] = []
        for transition, arrived in self._bare.values():
            if now - arrived < PATIENCE or len(late) >= LARGEST_REQUEST:
                break
            late.append(transition)
        self.wanted_linearizations = late

    # --- out --------------------------------------------------------------------------------

    def _announce(self) -> None:
        self.policy_at = time.monotonic()
        self._publish_policy(self.learner)

    def _ahead(self) -> Progress:
        """Where a bridge that starts goes on, so that no number is used twice.

        In lockstep where the learner is: the bridge then repeats its block. In real time after all
        that has arrived.
        """
        progress = self.learner.progress
        if self._timing.lockstep:
            return progress
        for transition in self._intake.held():
            progress = progress.after(transition)
        return replace(progress, number=max(progress.number, max(self._early, default=-1) + 1))

    def _pace(self) -> None:
        progress, interval = self._ahead(), self.learner.config.policy_interval
        self._paced_at = progress.number, time.monotonic()
        lockstep = self._timing.lockstep
        self._publish_pace(
            Credit(
                progress,
                up_to=(progress.number // interval + 1) * interval,
                policy_version=self.learner.version if lockstep else 0,
            )
        )
