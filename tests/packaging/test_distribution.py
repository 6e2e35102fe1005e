"""What is delivered: wheel, colcon's install, versions, dependencies, weight of imports."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ROOT / "ros2_ws" / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def shared_files() -> set[str]:
    """Relative paths of all stack and launch files."""
    files = [*ROOT.glob("config/*.yaml"), *ROOT.glob("launch/*.launch.py")]
    assert len(files) >= 2
    return {str(file.relative_to(ROOT)) for file in files}


def copy_of_sources(folder: Path) -> Path:
    """What a wheel is built from, elsewhere, so that no build output lands in the checkout."""
    for name in ("deepilc", "sims", "config", "launch"):
        shutil.copytree(
            ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_wheel_holds_stack_files_launch_files_and_licence(tmp_path: Path) -> None:
    source = copy_of_sources(tmp_path / "source")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"deepilc/share/{file}" for file in shared_files()} <= names
    profiles = {str(file.relative_to(ROOT)) for file in ROOT.glob("config/profiles/*")}
    profiles |= {str(file.relative_to(ROOT)) for file in ROOT.glob("config/dds/*")}
    assert {f"deepilc/share/{file}" for file in profiles} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for package in ("deepilc", "sims"):
        modules = {str(f.relative_to(ROOT)) for f in (ROOT / package).rglob("*.py")}
        assert {m for m in modules if "share/" not in m} <= names
    assert not [name for name in names if name.startswith("tests/")]

    # And what is installed finds them, far from any checkout.
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from deepilc import paths, stack; print(paths.__file__, stack.load('quadrotor_sim').name)"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    out = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert out.split() == [str(site / "deepilc" / "paths.py"), "quadrotor_sim"]


def test_colcon_installs_nodes_stack_files_and_launch_files(tmp_path: Path) -> None:
    pytest.importorskip("colcon_core", reason="colcon is not installed")
    env = {**os.environ, "AMENT_PREFIX_PATH": os.environ.get("AMENT_PREFIX_PATH", sys.prefix)}
    colcon = [sys.executable, "-m", "colcon", "--log-base", str(tmp_path / "log")]
    places = [
        "--base-paths",
        str(PACKAGES / "deepilc_ros"),
        "--build-base",
        str(tmp_path / "build"),
    ]
    places += ["--install-base", str(tmp_path / "install")]
    subprocess.run(
        [*colcon, "build", *places], cwd=tmp_path, env=env, check=True, capture_output=True
    )
    installed = tmp_path / "install" / "deepilc_ros"
    for file in shared_files():
        copy = installed / "share" / "deepilc_ros" / file
        assert copy.read_text() == (ROOT / file).read_text()
    executables = {file.name for file in (installed / "lib" / "deepilc_ros").iterdir()}
    nodes = {"bridge_node", "jacobian_server", "learner_node", "policy_node"}
    robots = {"fake_robot", "operate", "robot_bridge", "robot_check"}
    others = {"bag_player", "monitor", "pose_node", "recorder", "watchdog"}
    assert executables == nodes | robots | others
    assert (installed / "share/ament_index/resource_index/packages/deepilc_ros").is_file()


@pytest.mark.parametrize("name", ["config", "launch"])
@pytest.mark.parametrize("folder", ["deepilc/share", "ros2_ws/src/deepilc_ros"])
def test_shared_folders_are_relative_links(folder: str, name: str) -> None:
    link = ROOT / folder / name
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / name


def test_versions_agree() -> None:
    versions = {"pyproject.toml": PROJECT["version"]}
    for package in ("deepilc_msgs", "deepilc_px4_msgs", "deepilc_ros"):
        tree = ElementTree.parse(PACKAGES / package / "package.xml")
        versions[package] = tree.findtext("version")
    setup = (PACKAGES / "deepilc_ros" / "setup.py").read_text()
    versions["setup.py"] = re.search(r'version="([^"]+)"', setup)[1]
    versions["CHANGELOG.md"] = re.search(r"## \[([^]]+)]", (ROOT / "CHANGELOG.md").read_text())[1]
    assert len(set(versions.values())) == 1, versions


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", line.split("#")[0].strip()) for line in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_every_direct_dependency_is_pinned() -> None:
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in pins)
    wanted = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= names(extra)
    wanted |= names((ROOT / "requirements" / "ros.txt").read_text().splitlines())
    assert wanted <= names(pins)


def test_the_light_installation_is_part_of_the_whole_one() -> None:
    robot = (ROOT / "requirements" / "robot.txt").read_text().splitlines()
    light = {line for line in robot if line and not line.startswith("#")}
    assert light <= set(PROJECT["dependencies"])


@pytest.mark.parametrize("package", ["deepilc_msgs", "deepilc_px4_msgs", "deepilc_ros"])
def test_licence_of_ros_packages_is_that_of_the_project(package: str) -> None:
    tree = ElementTree.parse(PACKAGES / package / "package.xml")
    assert tree.findtext("license") == PROJECT["license"] == "MIT"
    assert (PACKAGES / package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def imports(file: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_pyproject_names_what_the_library_imports() -> None:
    keys = {"yaml": "pyyaml", "PIL": "pillow", "warp": "warp-lang"}
    optional = PROJECT["optional-dependencies"]
    extras = [name for extra in ("compare", "ray", "dashboard") for name in optional[extra]]
    with_rosbags = {"lz4", "backports"}  # its own decompressors
    declared = names([*PROJECT["dependencies"], *extras]) | with_rosbags
    imported: set[str] = set()
    for floor in ("deepilc", "sims"):
        for file in (ROOT / floor).rglob("*.py"):
            imported |= imports(file)
    imported -= set(sys.stdlib_module_names) | {"deepilc", "sims"}
    assert {keys.get(name, name.replace("_", "-")) for name in imported} <= declared


def test_package_xml_names_what_the_nodes_import() -> None:
    tree = ElementTree.parse(PACKAGES / "deepilc_ros" / "package.xml")
    declared = {node.text for node in tree.iter() if node.tag in ("exec_depend", "depend")}
    keys = {"numpy": "python3-numpy", "yaml": "python3-yaml"}
    from_pip = {"deepilc", "sims", "deepilc_ros", "onnxruntime", "pydantic", "torch"}
    files = (PACKAGES / "deepilc_ros" / "deepilc_ros").glob("*.py")
    imported = set().union(*map(imports, files))
    missing = imported - set(sys.stdlib_module_names) - from_pip
    assert {keys.get(name, name) for name in missing} <= declared


@pytest.mark.parametrize("name", ["deepilc_msgs", "deepilc_px4_msgs"])
def test_every_interface_is_built_and_our_own_messages_carry_a_header(name: str) -> None:
    package = PACKAGES / name
    cmake = (package / "CMakeLists.txt").read_text()
    listed = set(re.findall(r'"((?:msg|srv)/\w+\.(?:msg|srv))"', cmake))
    files = {str(f.relative_to(package)) for f in package.glob("*/*.*") if f.parent.name != "."}
    assert listed == files
    for message in package.glob("msg/*.msg") if name == "deepilc_msgs" else ():  # PX4's have none
        assert re.search(r"^std_msgs/Header header\b", message.read_text(), re.M), message.name


def modules_after(code: str) -> set[str]:
    code += "; import sys; print(' '.join(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return {name.split(".")[0] for name in out.split()}


@pytest.mark.parametrize(
    "module",
    [
        "deepilc",
        "deepilc.bringup",
        "deepilc.errors",
        "deepilc.guard",
        "deepilc.policy",
        "deepilc.robot.interface",
        "deepilc.stack",
        "deepilc.transition",
        "deepilc.up",
        "deepilc.world",
        "sims",
        "sims.registry",
        "sims.system",
    ],
)
def test_what_runs_next_to_the_robot_is_light(module: str) -> None:
    assert not modules_after(f"import {module}") & {"torch", "warp", "mujoco", "matplotlib"}


def test_the_policy_node_is_light() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    assert not modules_after("import deepilc_ros.policy_node") & {"torch", "warp", "mujoco"}


def test_floors_import_only_downwards() -> None:
    forbidden = {
        "sims": {"deepilc", "deepilc_ros", "deepilc_msgs", "rclpy", "launch", "torch"},
        "deepilc": {"deepilc_ros", "deepilc_msgs", "rclpy", "launch", "launch_ros"},
    }
    for floor, above in forbidden.items():
        for file in (ROOT / floor).rglob("*.py"):
            if "share" in file.relative_to(ROOT).parts:
                continue
            found = imports(file)
            assert not found & above, f"{file.relative_to(ROOT)} imports {found & above}"
