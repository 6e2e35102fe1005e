"""Experiment folders for tests, written as a harness would."""

import csv
import json
from pathlib import Path
from typing import Any

HEADER = [
    *("system", "parameters", "variant", "stage", "seed", "pilot", "transitions"),
    *("evaluation_transitions", "seconds", "return", "return_sd", "episodes"),
]
ABOUT = {
    "experiment": "scratch",
    "command": "deepilc experiment scratch --seeds 3",
    "revision": "0123456789ab",
    "packages": {"deepilc": "0.1.0", "torch": "2.13.0"},
    "machine": {"processor": "x86_64", "cores": 2},
    "episodes": {"cartpole": 20},
    "missing": [],
    "cells": [],
}


def rows(
    variant: str,
    seed: int,
    returns: list[float],
    *,
    system: str = "cartpole",
    parameters: str = "real",
    stage: str = "scratch",
    interval: int = 100,
) -> list[list[Any]]:
    """One run, evaluated every `interval` transitions; each evaluation takes 20 and 2 s."""
    world = [system, parameters, variant, stage, seed, int(seed >= 1000)]
    return [
        [*world, k * interval, 20 * (k + 1), 2.0 * (k + 1), value, 1.0, 20]
        for k, value in enumerate(returns)
    ]


def pilots(system: str = "cartpole", parameters: str = "real") -> list[list[Any]]:
    """First 10, end at 110, best 120: threshold 100, score (return - 10) / 110."""
    return [
        line
        for seed in (1000, 1001)
        for line in rows("SAC", seed, [10, 120, 110], system=system, parameters=parameters)
    ]


def write(folder: Path, lines: list[list[Any]], **about: Any) -> Path:
    """`curves.csv` and `experiment.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "curves.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *lines])
    (folder / "experiment.json").write_text(json.dumps(ABOUT | about))
    return folder
