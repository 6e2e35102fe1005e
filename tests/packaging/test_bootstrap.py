"""The set-up script: what it asks of a machine, and that it does each thing once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "bootstrap.py"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module that works in a folder of the test."""
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    state = venv / "setup"
    state.mkdir(parents=True)
    for name, value in {"ROOT": tmp_path, "VENV": venv, "STATE": state}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "make_venv", lambda: None)
    return module


def bootstrap(**env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "AMENT_PREFIX_PATH"}
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT)],
        env={**clean, **env}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the set-up is for Python 3.11")
@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"PATH": "/nowhere"}, "cmake is missing"),
        ({"AMENT_PREFIX_PATH": "/opt/ros/jazzy"}, "ROS 2 is sourced"),
    ],
)
def test_missing_tool_or_sourced_ros_gives_one_line_and_exit_code_2(
    env: dict[str, str], words: str
) -> None:
    answer = bootstrap(**env)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""


def test_a_step_is_done_once_and_again_when_its_input_changes(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    inputs = {"one": "a", "two": "b"}

    def steps() -> list[tuple]:
        return [
            ("one", "first", lambda: done.append("one"), lambda: inputs["one"]),
            (
                "two",
                "second",
                lambda: done.append("two"),
                lambda: inputs["two"] + setup.stamp("one"),
            ),
        ]

    monkeypatch.setattr(setup, "steps", steps)
    setup.bootstrap(None)
    setup.bootstrap(None)
    assert done == ["one", "two"]
    inputs["two"] = "changed"
    setup.bootstrap(None)
    assert done == ["one", "two", "two"]
    inputs["one"] = "changed"  # the second rests on the first
    setup.bootstrap(None)
    assert done == ["one", "two", "two", "one", "two"]


def test_an_interrupted_step_is_done_again(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [KeyboardInterrupt(), None]

    def work() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(setup, "steps", lambda: [("one", "first", work, lambda: "a")])
    with pytest.raises(KeyboardInterrupt):
        setup.bootstrap(None)
    assert setup.stamp("one") == ""
    setup.bootstrap(None)
    assert setup.stamp("one") == "a"


def test_failed_command_names_its_log(setup: ModuleType, monkeypatch, capfd) -> None:
    monkeypatch.setattr(setup, "environment", lambda: dict(os.environ))
    with pytest.raises(setup.SetupError, match=r"broken failed \(exit code 3\).*broken\.log"):
        setup.run("broken", ["sh", "-c", "echo the reason; exit 3"])
    assert "the reason" in capfd.readouterr().err


def test_progress_of_a_command_is_passed_on_line_by_line(setup: ModuleType, monkeypatch, capfd):
    monkeypatch.setattr(setup, "environment", lambda: dict(os.environ))
    script = "echo one of two; printf 'two '; sleep 1.2; echo of two"
    setup.run("slowly", ["sh", "-c", script], ["echo", "more"], follow=True)
    lines = ["setup:   one of two", "setup:   two of two", "setup:   more"]
    assert capfd.readouterr().out.splitlines() == lines


def test_digest_sees_content_names_and_order(setup: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = setup.digest([folder])
    assert setup.digest([folder]) == first
    (folder / "a").rename(folder / "b")
    assert setup.digest([folder]) != first
    (folder / "b").rename(folder / "a")
    assert setup.digest([folder]) == first
    (folder / "a").write_text("2")
    assert setup.digest([folder]) != first


def test_nothing_of_another_ros_reaches_the_tools(setup: ModuleType, monkeypatch) -> None:
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH"):
        monkeypatch.setenv(name, "/elsewhere")
    env = setup.environment()
    assert "/elsewhere" not in env.values()
    assert env["AMENT_PREFIX_PATH"] == str(setup.VENV)


def test_build_paths_of_the_wheels_are_replaced(setup: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(setup, "PYTHON", Path(sys.executable))
    file = setup.VENV / "share/x/cmake/export_x__rosidl_generator_pyExport.cmake"
    file.parent.mkdir(parents=True)
    base = "/opt/python/cp311-cp311"
    numpy = f"{base}/lib/python3.11/site-packages/numpy/_core/include"
    file.write_text(f'DIRECTORIES "{base}/include/python3.11;{numpy}"\n')
    setup.mend_cmake_exports()
    text = file.read_text()
    assert "/opt/python" not in text
    python, arrays = text.split('"')[1].split(";")
    assert (Path(arrays) / "numpy" / "arrayobject.h").is_file()
    assert Path(python).name.startswith("python3")
