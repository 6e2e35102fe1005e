"""Package of the nodes; launch/ and config/ are links to the repository's top-level folders."""

from glob import glob

from setuptools import find_packages, setup

NAME = "deepilc_ros"

setup(
    name=NAME,
    version="0.1.0",
    description="Bridges, Jacobian server, learner and policy node of deepilc",
    maintainer="deepilc contributors",
    maintainer_email="maintainers@deepilc.invalid",
    license="MIT",
    packages=find_packages(exclude=["test"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", sorted(glob("config/*.yaml"))),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # colcon test runs unittest without it
    zip_safe=True,
    entry_points={
        "console_scripts": [
            f"bag_player = {NAME}.bag_player:main",
            f"bridge_node = {NAME}.bridge_node:main",
            f"fake_robot = {NAME}.fake_robot:main",
            f"jacobian_server = {NAME}.jacobian_server:main",
            f"learner_node = {NAME}.learner_node:main",
            f"monitor = {NAME}.monitor:main",
            f"operate = {NAME}.operate:main",
            f"policy_node = {NAME}.policy_node:main",
            f"pose_node = {NAME}.pose_node:main",
            f"recorder = {NAME}.recorder:main",
            f"robot_bridge = {NAME}.robot_bridge:main",
            f"robot_check = {NAME}.robot_check:main",
            f"watchdog = {NAME}.watchdog:main",
        ],
    },
)
