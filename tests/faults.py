"""Counts the faults that tests inject, by promise, and says at the end how many were survived.

A test that proves one of the ten promises (docs/faults.md) is marked `promise(n)` and takes the
fixture `faults`, with which it counts every fault it injects. A fault counts as survived when its
test has passed. Random points are drawn from `faults.random`; another seed draws others.
"""

import secrets
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

PROMISES = {
    1: "stale, missing or NaN: a defined safe command",
    2: "learner or Jacobian server dies: control goes on",
    3: "policy node dies: the bridge makes it safe",
    4: "a policy swap is atomic and checked",
    5: "limits live in the bridge; requested and applied are recorded",
    6: "checkpoints survive; a resumed run is bit-equal",
    7: "damaged bags: counted errors, no made-up rows",
    8: "a Jacobian that is bad or late: plain SAC, counted",
    9: "no bootstrap and no Jacobian across a reset",
    10: "queues are bounded; drops are counted",
}
REPEAT = "fault_repetition"


class Faults:
    """What one test injects.

    Args:
        seed: Of the random points.
        test: Name of the test.
        repetitions: What --faults asks for.
        promises: Those that the test is marked with.

    Attributes:
        tried: Faults by kind and the promises that they are about.
        random: Draws the points at which they come.
    """

    def __init__(self, seed: int, test: str, repetitions: int, promises: list[int]) -> None:
        self.tried: Counter[tuple[str, tuple[int, ...]]] = Counter()
        self.promises = tuple(promises)
        self.random = np.random.default_rng([seed, zlib.crc32(test.encode())])
        self._repetitions = repetitions

    def tries(self, kind: str, count: int = 1, promises: tuple[int, ...] = ()) -> None:
        """Call it when a fault is injected (or `count` of them).

        Args:
            kind: In a few words.
            count: How many.
            promises: Those of the test's promises that it is about; by default all.
        """
        assert set(promises) <= set(self.promises), "mark the test with promise(n)"
        self.tried[kind, promises or self.promises] += count

    def times(self, count: int = 1) -> range:
        """For loops over random points: `count` times the repetitions that --faults asks for."""
        return range(count * self._repetitions)

    def order(self, kinds: Iterable[str], at_first: int) -> list[str]:
        """Kinds in random order: with --faults 1 only `at_first` of them, else all, as often."""
        kinds = list(kinds)
        drawn = [kinds[i] for _ in self.times() for i in self.random.permutation(len(kinds))]
        return drawn if self._repetitions > 1 else drawn[:at_first]


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    """Counts the faults of a test that is marked with the promises it proves."""
    options = request.config.option
    promises = sorted({mark.args[0] for mark in request.node.iter_markers("promise")})
    made = Faults(options.faults_seed, request.node.nodeid, options.faults, promises)
    yield made
    tried = [(kind, list(about), count) for (kind, about), count in made.tried.items()]
    request.node.user_properties.append(("faults", tried))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption(
        "--faults", type=int, default=1, metavar="N",
        help="Repeat faults at random points N times.",
    )  # fmt: skip
    group.addoption(
        "--faults-seed", type=int, default=None, metavar="S",
        help="Seed of the random points; printed at the end, so that a failure can be repeated.",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if config.option.faults < 1:
        raise pytest.UsageError(f"--faults is {config.option.faults}; it must be 1 or more")
    if config.option.faults_seed is None:  # workers of xdist get the same one
        config.option.faults_seed = secrets.randbelow(2**31)
    config.pluginmanager.register(Campaign(config), "fault-campaign")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`fault_repetition`: for tests whose every random point needs processes of its own."""
    if REPEAT in metafunc.fixturenames:
        metafunc.parametrize(REPEAT, range(metafunc.config.option.faults))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        promises = [mark.args for mark in item.iter_markers("promise")]
        counts = "faults" in getattr(item, "fixturenames", ())
        if any(len(args) != 1 or args[0] not in PROMISES for args in promises):
            raise pytest.UsageError(f"{item.nodeid}: promise(n) with n in 1..10, not {promises}")
        if counts != bool(promises):
            raise pytest.UsageError(
                f"{item.nodeid}: a test takes the fixture `faults` and has the marker promise(n), "
                "or neither"
            )


class Campaign:
    """Adds up what the tests report, also those of xdist's workers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        # by test, for each time that it was tried (see RERUNS in the Makefile)
        self._tests: dict[str, list[list[tuple[str, list[int], int]]]] = {}
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)
        if tries := [value for name, value in report.user_properties if name == "faults"]:
            self._tests[report.nodeid] = tries

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._tests:
            return
        option = self._config.option
        terminalreporter.section(
            f"faults (--faults {option.faults} --faults-seed {option.faults_seed})"
        )
        for line in self._table():
            terminalreporter.write_line(line)

    def _table(self) -> Iterator[str]:
        """A line per promise and kind of fault."""
        everything = [
            (kind, promises, count, count * (tried is tries[-1] and test not in self._failed))
            for test, tries in self._tests.items()
            for tried in tries
            for kind, promises, count in tried
        ]
        for number, promise in PROMISES.items():
            tried, survived = Counter[str](), Counter[str]()
            for kind, promises, count, good in everything:
                if number in promises:
                    tried[kind] += count
                    survived[kind] += good
            note = "" if tried else ": not tried in this run"
            yield f"{number:2}. {promise}{note}"
            for kind, count in sorted(tried.items()):
                yield f"      {survived[kind]:5} of {count:5} survived   {kind}"
        total = sum(count for _, _, count, _ in everything)
        yield f"{sum(good for *_, good in everything)} of {total} faults survived"
