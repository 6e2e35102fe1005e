# deepilc beside an installed ROS 2 Jazzy (Ubuntu 24.04, Python 3.12), by the same steps as README.md.
#
#   docker build -t deepilc .
#   docker run --rm -it --network host --ipc host -v "$PWD/runs:/home/deepilc/runs" deepilc
#
# --network host and --ipc host let DDS find nodes outside the container.
#
# The tag names distribution and release; for a build that stays the same for years, give a digest:
#   docker build --build-arg BASE=ros@sha256:... -t deepilc .
ARG BASE=ros:jazzy-ros-base-noble
FROM ${BASE}

ARG UID=1000
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Compiler and venv for the build, EGL for headless rendering.
RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential cmake python3-venv python3-pip libegl1 libgles2 \
    && rm -rf /var/lib/apt/lists/*

# The image has a user `ubuntu` with UID 1000; ours takes its place.
RUN (userdel --remove ubuntu || true) && useradd --create-home --uid "${UID}" deepilc
WORKDIR /home/deepilc/deepilc
COPY --chown=deepilc:deepilc . .

# ROS dependencies by their rosdep keys.
RUN apt-get update && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths ros2_ws/src --ignore-src --rosdistro jazzy -y \
    && rm -rf /var/lib/apt/lists/* ~/.ros

USER deepilc
ENV VIRTUAL_ENV=/home/deepilc/venv
# The rest by pip, in versions that the tests know; ROS 2 and its Python modules are the system's.
# The lock is for Python 3.11 and holds the wheels of ROS 2: only the versions of our own needs are taken.
RUN python3 -m venv --system-site-packages "${VIRTUAL_ENV}" \
    && grep -vEi '^(ros-|colcon|catkin|setuptools|empy|lark|numpy)' requirements/lock.txt > /tmp/constraints.txt \
    && "${VIRTUAL_ENV}/bin/pip" install --constraint /tmp/constraints.txt . \
    && rm /tmp/constraints.txt
ENV PATH=/home/deepilc/venv/bin:${PATH}

# `python -m colcon`: the environment's Python, so the nodes' scripts start with it.
RUN source /opt/ros/jazzy/setup.bash \
    && cd ros2_ws && python -m colcon build --cmake-args -DBUILD_TESTING=OFF

# Kernels once, not in each of four processes at their first start.
RUN python -m sims.cache

WORKDIR /home/deepilc
ENV MUJOCO_GL=egl ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
# Ctrl-C and `docker stop` reach the process as SIGINT: `exec` keeps it process 1, and launch passes it on.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/jazzy/setup.bash && source /home/deepilc/deepilc/ros2_ws/install/local_setup.bash && exec \"$@\"", "deepilc"]
CMD ["ros2", "launch", "deepilc_ros", "quadrotor_sim.launch.py"]
