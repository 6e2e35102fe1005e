"""What must not be in the repository."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

# Written so that this file does not match itself.
MACHINE = [
    r"/ho[m]e/(?!deepilc\b)\w+", r"/ro[o]t/", r"(?<![\w.}/])/wo[r]k/",
    r"/op[t]/(?!ros\b|python\b)\w+",
    r"/Use[r]s/\w+",
]  # fmt: skip
REGISTRY = [
    r"py[p]i\.org", r"python[h]osted", r"download\.py[t]orch", r"--(extra-)?inde[x]-url",
    r"--fin[d]-links", r"file:/[/]/",
]  # fmt: skip


def tracked() -> list[str]:
    answer = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        pytest.skip("not a git checkout")
    return [name for name in answer.stdout.split("\0") if name]


@pytest.mark.parametrize("pattern", MACHINE + REGISTRY)
def test_no_paths_of_a_machine_and_no_registry_hosts(pattern: str) -> None:
    hits = []
    for name in tracked():
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if re.search(pattern, line):
                hits.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not hits, "\n".join(hits)


def test_no_large_files() -> None:
    sizes = {name: (ROOT / name).lstat().st_size for name in tracked() if (ROOT / name).exists()}
    large = {name: size for name, size in sizes.items() if size > 2_000_000}
    assert not large
