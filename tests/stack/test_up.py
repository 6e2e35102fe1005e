"""The runner, with small shell scripts in the place of nodes: start, end, restart, no orphans."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from deepilc import stack, up
from deepilc.errors import UserError

pytest.importorskip("rclpy", reason="the runner refuses to start nodes without ROS 2")

SLEEPER = "exec sleep 300"
STUBBORN = "trap '' INT TERM; while :; do sleep 300; done"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a stack out of node name -> (shell script, settings of the node)."""
    prefix = tmp_path / "prefix"
    scripts = prefix / "lib" / "demo"
    scripts.mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}")

    def build(**nodes: tuple[str, dict[str, object]]) -> stack.Stack:
        content = {"nodes": {}}
        for name, (script, settings) in nodes.items():
            file = scripts / name
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
            content["nodes"][name] = {"package": "demo", "executable": name, **settings}
        file = tmp_path / "demo.yaml"
        file.write_text(yaml.safe_dump(content))
        return stack.load(file)

    return build


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends within the time; a zombie has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_exit_zero_of_the_completing_node_ends_the_stack_with_zero(make, run: Path) -> None:
    demo = make(worker=("exit 0", {"completes": True, "respawn": True}), other=(SLEEPER, {}))
    with up.Runner(demo, run) as runner:
        other = runner.pids["other"]
        assert runner.wait() == 0
    assert gone(other)


def test_crashed_node_is_started_again(make, run: Path) -> None:
    # Dies at its first two starts, then its work is done.
    script = 'echo x >> "$0.count"; [ $(wc -l < "$0.count") -ge 3 ]'
    demo = make(worker=(script, {"completes": True, "respawn": True, "respawn_delay": 0.0}))
    with up.Runner(demo, run) as runner:
        assert runner.wait() == 0
    assert runner.restarts == {"worker": 2}


def test_crashed_node_without_respawn_stops_the_stack_and_names_its_log(make, run: Path) -> None:
    lines: list[str] = []
    demo = make(worker=("echo why >&2; exit 3", {"respawn": True}), other=(SLEEPER, {}))
    with up.Runner(demo, run, use_respawn=False, report=lines.append) as runner:
        assert runner.wait() == 1
    assert any("exit code 3" in line and "worker.log" in line for line in lines)
    assert runner.log("worker").read_text() == "why\n"


def test_node_that_is_not_required_may_die(make, run: Path) -> None:
    demo = make(
        extra=("exit 3", {"required": False}), worker=("sleep 0.5; exit 0", {"completes": True})
    )
    with up.Runner(demo, run) as runner:
        assert runner.wait() == 0


def test_user_error_of_a_node_is_shown_and_not_repeated(make, run: Path) -> None:
    lines: list[str] = []
    demo = make(worker=("echo 'error: seed is -1' >&2; exit 2", {"respawn": True}))
    with up.Runner(demo, run, report=lines.append) as runner:
        assert runner.wait() == 2
    assert any("seed is -1" in line for line in lines)
    assert runner.restarts == {"worker": 0}


@pytest.mark.parametrize("pacing", ["real_time", "lockstep"])
def test_a_mistake_of_one_node_does_not_end_a_stack_that_flies(
    make, run: Path, monkeypatch, pacing: str
) -> None:
    monkeypatch.setattr(stack, "SETTLED", 0.5)
    monkeypatch.setattr(up, "RETRY", 0.2)
    lines: list[str] = []
    script = 'echo x >> "$0.count"; [ $(wc -l < "$0.count") -ge 2 ] || { sleep 1; exit 2; }'
    demo = make(
        learner=(f"{script}; exec sleep 300", {"respawn": True}),
        helper=("sleep 1; exit 2", {"required": False}),
        bridge=("sleep 8; exit 0", {"completes": True}),
    ).model_copy(update={"pacing": pacing})
    with up.Runner(demo, run, report=lines.append) as runner:
        flies = pacing == "real_time"
        assert runner.wait() == (0 if flies else 2)
        assert runner.restarts["learner"] == int(flies)
    assert any("mistake that you can correct" in line for line in lines)
    assert any("learner: exit code 2; starts again in 0.2 s" in line for line in lines) == flies


def test_node_that_ignores_sigint_and_sigterm_is_killed(make, run, monkeypatch) -> None:
    grace = ((signal.SIGINT, 0.2), (signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0))
    monkeypatch.setattr(up, "GRACE", grace)
    demo = make(worker=("echo ready\n" + STUBBORN, {}))
    lines: list[str] = []
    with up.Runner(demo, run, report=lines.append) as runner:
        pid = runner.pids["worker"]
        while "ready" not in runner.log("worker").read_text():
            time.sleep(0.02)
    assert gone(pid)
    assert any("was killed" in line for line in lines)


def test_grandchildren_are_not_left_behind(make, run: Path) -> None:
    demo = make(worker=("sleep 300 & echo $!; exit 0", {"completes": True}))
    with up.Runner(demo, run) as runner:
        assert runner.wait() == 0
        pid = int(runner.log("worker").read_text())
    assert gone(pid)


MAIN = """
import sys
from pathlib import Path
from deepilc import stack, up
with up.Runner(stack.load(sys.argv[1]), Path(sys.argv[2])) as runner:
    print(*runner.pids.values(), flush=True)
    runner.wait()
"""


def hears_hangups() -> None:
    """In the child: whatever ignores them above, such as nohup around the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP])
def test_nodes_end_with_a_runner_that_is_killed_and_may_say_a_last_word(
    make, run: Path, tmp_path: Path, end: signal.Signals
) -> None:
    word = "trap 'echo safe; exit 0' INT TERM; echo ready; while :; do sleep 0.05; done"
    make(one=(word, {}), two=(SLEEPER, {}))
    command = [sys.executable, "-c", MAIN, str(tmp_path / "demo.yaml"), str(run)]
    log = run / "logs" / "one.log"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=hears_hangups
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        while not log.exists() or "ready" not in log.read_text():
            time.sleep(0.02)
        process.send_signal(end)
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)
    assert log.read_text().count("safe") == 1


def test_interrupt_reaches_the_nodes_once_and_the_exit_code_says_so(
    make, run: Path, tmp_path: Path
) -> None:
    script = "trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.05; done"
    make(worker=(script, {}))
    main = textwrap.dedent("""
        import sys
        from deepilc import stack, up
        from deepilc.run import RunFolder
        demo = stack.load(sys.argv[1])
        sys.exit(up.run(demo, RunFolder(__import__("pathlib").Path(sys.argv[2]))))
    """)
    command = [sys.executable, "-c", main, str(tmp_path / "demo.yaml"), str(run)]
    log = run / "logs" / "worker.log"
    with subprocess.Popen(command, start_new_session=True) as process:
        while not log.exists() or "ready" not in log.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of its group
        assert process.wait(30) == 130
    assert log.read_text().count("interrupted") == 1


def test_a_closed_terminal_ends_the_stack_in_order_though_it_says_so_twice(
    make, run: Path, tmp_path: Path
) -> None:
    script = "trap 'sleep 1; echo saved; exit 0' INT; echo ready; while :; do sleep 0.05; done"
    make(worker=(script, {}))
    main = textwrap.dedent("""
        import sys
        from pathlib import Path
        from deepilc import stack, up
        from deepilc.run import RunFolder
        options = {"echo": True, "report": lambda line: print(line, flush=True)}
        sys.exit(up.run(stack.load(sys.argv[1]), RunFolder(Path(sys.argv[2])), **options))
    """)
    command = [sys.executable, "-c", main, str(tmp_path / "demo.yaml"), str(run)]
    terminal, side = os.openpty()
    log = run / "logs" / "worker.log"
    with subprocess.Popen(
        command, stdout=side, start_new_session=True, preexec_fn=hears_hangups
    ) as process:
        os.close(side)
        shown = b""
        while b"ready" not in shown:  # the runner looks after its nodes by now
            shown += os.read(terminal, 1000)
        os.close(terminal)  # what is printed from now on fails
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 130
    assert log.read_text().count("saved") == 1


def test_the_folder_of_a_killed_runner_is_free_when_its_last_node_has_ended(
    make, run: Path, tmp_path: Path
) -> None:
    demo = make(
        worker=("trap 'sleep 1; exit 0' TERM; echo ready; while :; do sleep 0.05; done", {})
    )
    command = [sys.executable, "-c", MAIN, str(tmp_path / "demo.yaml"), str(run)]
    log = run / "logs" / "worker.log"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (pid,) = map(int, process.stdout.readline().split())
        while "ready" not in log.read_text():
            time.sleep(0.02)
        process.kill()
    with pytest.raises(UserError, match="another stack is running"):
        up.Runner(demo, run)
    assert gone(pid)
    with up.Runner(demo, run) as again:
        assert again.pids


def test_two_stacks_cannot_share_a_run_folder(make, run: Path) -> None:
    demo = make(worker=(SLEEPER, {}))
    with up.Runner(demo, run), pytest.raises(UserError, match="another stack is running"):
        up.Runner(demo, run)
    with up.Runner(demo, run) as again:  # and afterwards it is free
        assert again.pids


def test_missing_executable_is_refused_before_anything_starts(make, run: Path) -> None:
    make(worker=(SLEEPER, {}))
    content = {"nodes": {"a": {"package": "demo", "executable": "wroker"}}}
    file = run.parent / "other.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="did you mean 'worker'"):
        up.Runner(stack.load(file), run)
    content["nodes"]["a"]["package"] = "nowhere"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="package nowhere is not installed"):
        up.Runner(stack.load(file), run)


def test_new_run_folder_holds_the_stack_and_can_be_reopened(make, tmp_path: Path) -> None:
    demo = make(worker=(SLEEPER, {"parameters": {"x": 1.5}}))
    folder = up.prepare(demo, tmp_path / "new")
    with pytest.raises(UserError, match="exists"):
        up.prepare(demo, tmp_path / "new")
    again, _ = up.reopen(folder.path)
    assert again == demo
    with pytest.raises(UserError, match="not a run folder"):
        up.reopen(tmp_path / "prefix")


def test_nodes_get_their_parameters_in_a_file_of_the_run(make, run: Path) -> None:
    script = 'while [ "$1" != --params-file ]; do shift; done; cat "$2"'
    settings = {"parameters": {"x": 1e-5}, "completes": True}
    with up.Runner(make(worker=(script, settings)), run) as runner:
        assert runner.wait() == 0
    parameters = yaml.safe_load(runner.log("worker").read_text())["/**"]["ros__parameters"]
    assert parameters["x"] == 1e-5
    assert parameters["run"] == str(run)


def test_a_node_gets_its_namespace_its_remaps_and_its_enclave(make, run: Path) -> None:
    settings = {"remappings": {"policy": "policy"}, "completes": True}
    make(worker=('echo "$@"', settings))
    content = yaml.safe_load((run.parent / "demo.yaml").read_text())
    content["nodes"] = {"robot_a/worker": content["nodes"]["worker"]}
    (run.parent / "demo.yaml").write_text(yaml.safe_dump(content))
    demo = stack.load(run.parent / "demo.yaml")
    with up.Runner(demo, run, namespace="left", enclaves=True) as runner:
        assert runner.wait() == 0
    assert runner.log("robot_a/worker").name == "robot_a.worker.log"
    words = runner.log("robot_a/worker").read_text().split()
    for given in ("__node:=worker", "__ns:=/left/robot_a", "policy:=/left/policy"):
        assert given in words
    assert words[words.index("--enclave") + 1] == "/left/robot_a/worker"
    with up.Runner(demo, run) as runner:
        assert runner.wait() == 0
    assert runner.log("robot_a/worker").read_text().split().count("--enclave") == 1
