"""Runs that take a second or two: tiny networks, few transitions."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from deepilc.experiment.cell import Cell
from deepilc.experiment.store import Point, Store
from deepilc.run import circumstances

SETTINGS = {
    "agent.critic_hidden": 16,
    "agent.actor_hidden": 16,
    "batch_size": 32,
    "warmup_transitions": 50,
    "checkpoint_interval": 50,
}
VG = Cell(
    "rexquadrotor",
    "real",
    "VG-SAC",
    seed=3,
    budget=300,
    interval=150,
    episodes=2,
    overrides=tuple(SETTINGS.items()),
)
PRE = replace(VG, parameters="nominal", variant="VG pre", stage="pretrain")
FINE = replace(
    VG,
    variant="VG pre / VG fine",
    stage="finetune",
    budget=600,
    overrides=(*VG.overrides, ("warmup_transitions", 0)),
    initial=PRE,
)
POINT = Point(0, 10, 1.0, -1.0, 0.5, 2)

PROGRAM = """
import json, signal, sys
from pathlib import Path
from deepilc.experiment.cell import Cell
from deepilc.experiment.run import run
from deepilc.experiment.store import Store
signal.signal(signal.SIGINT, signal.default_int_handler)
cells = [Cell.from_fields(fields) for fields in json.loads(sys.argv[2])]
run(Store(Path(sys.argv[1])), "small", cells, command="small", workers=1)
"""


def start(root: Path, cells: list[Cell]) -> "subprocess.Popen[bytes]":
    """A process that runs an experiment."""
    fields = json.dumps([cell.fields for cell in cells])
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), fields])


def finish(store: Store, *cells: Cell) -> None:
    """Keeps a curve of one point as if these cells had run."""
    store.prepare()
    for cell in cells:
        store.save(cell, [POINT], circumstances())
