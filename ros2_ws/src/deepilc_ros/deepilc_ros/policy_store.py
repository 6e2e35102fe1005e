"""The policies that a policy node holds, and which of them acts. No ROS in here."""

import threading
from collections import Counter, OrderedDict
from pathlib import Path

from deepilc.errors import UserError
from deepilc.policy import Policy
from deepilc.run import write_atomic
from sims.system import System

__all__ = ["PolicyStore"]


class PolicyStore:
    """Recent versions of a run's policy; a new one counts only after every check.

    Safe to call from two threads: loading takes milliseconds and must not hold up an action.

    Args:
        system: What policies must fit.
        run: Run whose policies are taken.
        keep: Versions kept.
        in_order: Whether only versions newer than the newest are taken (real time). In lockstep
            a learner that was restarted repeats versions, with the same weights.
        path: File that holds the last accepted policy, if any; read at once if it is there.

    Attributes:
        counters: What was accepted and rejected, by reason.
        rejection: Why the last one was rejected; empty if none was.
    """

    def __init__(
        self, system: System, run: str, *, keep: int = 4, in_order: bool, path: Path | None = None
    ) -> None:
        self.system = system
        self.run = run
        self.counters: Counter[str] = Counter()
        self.rejection = ""
        self._keep = keep
        self._in_order = in_order
        self._path = path
        self._lock = threading.Lock()
        self._policies: OrderedDict[int, Policy] = OrderedDict()
        self._initial: Policy | None = None
        if path is not None and path.exists():
            self._start_from(path)

    @property
    def newest(self) -> Policy | None:
        """The policy that acts unless a version is asked for."""
        with self._lock:
            if self._policies:
                return self._policies[max(self._policies)]
            return self._initial

    def get(self, version: int) -> Policy | None:
        """The policy with this version; 0 is the newest. None if it is not here (yet)."""
        if version == 0:
            return self.newest
        with self._lock:
            return self._policies.get(version)

    def offer(self, content: bytes, run: str, version: int, digest: str, spec_hash: str) -> bool:
        """Checks a policy and takes it, or rejects it and keeps what there is.

        Args:
            content: ONNX file.
            run: Run that it claims to be from.
            version: Version that it claims to have.
            digest: SHA-256 that it claims to have.
            spec_hash: Specification that it claims to be for.

        Returns:
            Whether it was taken (or had been taken before).
        """
        if run != self.run:
            return self._reject("another run", f"policy of run {run!r}, this is {self.run!r}")
        if spec_hash != self.system.spec_hash:
            return self._reject("another specification", f"policy for {spec_hash[:12]}")
        with self._lock:
            held = self._policies.get(version)
            newest = max(self._policies, default=0)
        if held is not None and held.hash == digest:
            return True
        if self._in_order and version <= newest:
            return self._reject("old version", f"version {version}, there is {newest} already")
        try:
            policy = Policy.load(content, self.system)
        except UserError as error:
            return self._reject("not usable", str(error))
        if (policy.hash, policy.version, policy.run) != (digest, version, run):
            return self._reject(
                "mislabelled", f"version {version} {digest[:12]} holds {policy.version} "
                f"{policy.hash[:12]} of {policy.run!r}"
            )  # fmt: skip
        with self._lock:
            self._policies[version] = policy
            self._policies.move_to_end(version)
            while len(self._policies) > self._keep:
                self._policies.popitem(last=False)
        self.counters["policies accepted"] += 1
        self.rejection = ""
        self._persist(content)
        return True

    def _persist(self, content: bytes) -> None:
        if self._path is None:
            return
        try:
            write_atomic(self._path, content)
        except UserError as error:
            self.counters["policies not saved"] += 1
            self.rejection = str(error)

    def _start_from(self, path: Path) -> None:
        try:
            policy = Policy.load(path, self.system)
        except UserError as error:
            self._reject("not usable", str(error))
            return
        if policy.run == self.run:
            self._policies[policy.version] = policy
        else:
            self._initial = policy  # acts until this run has one of its own

    def _reject(self, reason: str, detail: str) -> bool:
        self.counters[f"policies rejected: {reason}"] += 1
        self.rejection = detail
        return False
