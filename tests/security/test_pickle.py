"""Nothing is pickled, and no file that may hold pickles is read as more than numbers.

Files of that kind are refused without being run: tests/initial/test_reading.py,
tests/test_checkpoint.py, tests/cli/test_init_policy.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FORBIDDEN = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
FLOORS = ("deepilc", "sims", "ros2_ws/src", "scripts", "examples")


def files() -> list[Path]:
    return [file for floor in FLOORS for file in (ROOT / floor).rglob("*.py")]


def mistakes(tree: ast.AST) -> Iterator[str]:
    """Uses of pickles in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in FORBIDDEN - {"pickle"}:
                    yield f"imports {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN:
            yield f"imports from {node.module}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            yield from {f"uses {ast.unparse(node)}"} - {"uses pickle.UnpicklingError"}
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if called in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
            yield "np.load with allow_pickle"
        if called == "torch.save":
            yield "torch.save writes a pickle"


def test_no_pickle_is_read_or_written() -> None:
    assert len(files()) > 200
    found = [
        f"{file.relative_to(ROOT)}: {mistake}"
        for file in files()
        for mistake in mistakes(ast.parse(file.read_text()))
    ]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "import dill", "from pickle import loads", "pickle.loads(data)", "torch.load(path)",
        "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)",
        "torch.save(model, path)",
    ],
)  # fmt: skip
def test_the_search_finds_it(line: str) -> None:
    assert list(mistakes(ast.parse(line)))
