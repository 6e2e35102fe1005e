"""Kernels are found in the cache by a hash: it may depend on nothing but the system itself."""

import subprocess
import sys

import pytest

from sims import registry
from sims.engines.warp_system import WarpSystem

NAMES = [name for name in registry.names() if isinstance(registry.get(name), WarpSystem)]
CODE = """
import sys
import warp as wp
from sims import registry
for name in sys.argv[1:]:
    kernels = registry.get(name)._kernels()
    modules = {k.module for k in vars(kernels).values() if isinstance(k, wp.Kernel)}
    for module in sorted(modules, key=lambda m: m.name):
        print(name, module.name, module.get_module_hash().hex())
"""


def hashes(*names):
    """Lines of a fresh process that makes the kernels of systems in this order."""
    run = subprocess.run(
        [sys.executable, "-c", CODE, *names], capture_output=True, text=True, check=True
    )
    return {line for line in run.stdout.splitlines() if line.split()[0] in NAMES}


@pytest.fixture(scope="module")
def in_order():
    return hashes(*NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_do_not_depend_on_the_systems_made_before(in_order, name):
    """Else a node would compile again what the set-up has compiled."""
    others = [other for other in reversed(NAMES) if other != name]
    alone, after_others = hashes(name), hashes(*others, name)
    assert alone and alone == {line for line in in_order if line.startswith(f"{name} ")}
    assert alone <= after_others
