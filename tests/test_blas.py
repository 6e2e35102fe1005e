"""The helper for MKL on AMD: built without fuss, loaded only where wanted, harmless elsewhere."""

import os
import platform
import shutil
import subprocess
import sys

import pytest

from deepilc import blas

x86_linux = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="made for x86-64 Linux"
)
compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)


def python(code, **environment):
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_import_of_deepilc_imports_no_torch():
    assert python("import sys, deepilc; print('torch' in sys.modules)") == "False"


@x86_linux
@compiler
def test_built_library_is_loaded_before_torch_and_switched_off_by_the_environment():
    assert blas.build().startswith("built")
    show = "import deepilc; from deepilc import blas; print(blas.loaded())"
    assert python(show, DEEPILC_FAST_MKL="1") == "True"
    assert python(show, DEEPILC_FAST_MKL="0") == "False"
    assert python("import torch; " + show, DEEPILC_FAST_MKL="1") == "False"


@x86_linux
@compiler
def test_products_are_as_accurate_with_it_as_without_it():
    code = """
import deepilc, numpy as np, torch
a, b = (torch.from_numpy(np.random.default_rng(i).normal(size=(200, 200))) for i in (0, 1))
x = (a.float() @ b.float()).double()
print(float((x - a @ b).norm() / (a @ b).norm()))
print(float((torch.tanh(a.float()).double() - torch.tanh(a)).abs().max()))
"""
    for switch in ("0", "1"):
        product, tanh = map(float, python(code, DEEPILC_FAST_MKL=switch).split())
        assert product < 3e-7 and tanh < 2e-7


def test_missing_or_failing_compiler_is_not_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(blas, "library_path", lambda: tmp_path / "lib" / "x.so")
    monkeypatch.setenv("CC", "false")
    if platform.machine() == "x86_64" and sys.platform == "linux":
        assert "skipped" in blas.build()
        assert list((tmp_path / "lib").iterdir()) == []
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not blas.build().startswith("built")


def test_unknown_value_of_the_switch_warns_and_is_ignored(monkeypatch):
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("made for x86-64 Linux")
    monkeypatch.setenv(blas.SWITCH, "yes")
    with pytest.warns(UserWarning, match="0 or 1"):
        blas.wanted()


def test_command_refuses_unknown_arguments():
    done = subprocess.run(
        [sys.executable, "-m", "deepilc.blas", "biuld"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "biuld" in done.stderr and len(done.stderr.splitlines()) == 1
