"""Checkpoints survive what machines do: kill -9, full disks, torn files."""

import errno
import os
import resource
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepilc import checkpoint
from deepilc.checkpoint import CheckpointWarning, previous_path
from deepilc.errors import UserError

METADATA = {"system": "toy", "spec_hash": "ab" * 32}


def tensors(count: int, size: int = 20_000) -> dict[str, torch.Tensor]:
    """Content that tells which save it came from."""
    return {"a": torch.full((size,), float(count)), "b": torch.tensor(count)}


def save(path, count: int) -> None:
    checkpoint.save(path, tensors(count), {**METADATA, "count": count})


def loaded_count(path) -> int:
    """Which save is there; fails if it is not exactly one of them."""
    content, metadata = checkpoint.load(path)
    count = metadata["count"]
    assert (content["a"] == count).all() and content["b"] == count
    return count


def in_child(work) -> int:
    """Run `work` in a forked process; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_every_dtype_and_shape_comes_back_bit_equal(tmp_path):
    generator = torch.Generator().manual_seed(3)
    content = {
        "rng": generator.get_state(),
        "int64": torch.tensor(2**62 + 1),
        "double": torch.randn(3, 4, dtype=torch.float64),
        "half": torch.randn(5).bfloat16(),
        "flags": np.array([[True, False]]),
        "empty": torch.zeros(0, 7),
        "view": torch.arange(12.0).reshape(3, 4).T,
        "nan": torch.tensor([float("nan"), float("inf")]),
        "frozen": np.frombuffer(b"read only", np.uint8),
    }
    nested = {**METADATA, "progress": {"number": 7, "state": [1.5, None]}, "name": "häusle"}
    checkpoint.save(tmp_path / "c.safetensors", content, nested)
    back, metadata = checkpoint.load(tmp_path / "c.safetensors")
    assert metadata == nested
    assert back.keys() == content.keys()
    for name, value in content.items():
        wanted = torch.as_tensor(np.array(value)) if isinstance(value, np.ndarray) else value
        assert back[name].dtype == wanted.dtype and back[name].shape == wanted.shape
        assert torch.equal(
            back[name].contiguous().view(-1).view(torch.uint8),
            wanted.contiguous().view(-1).view(torch.uint8),
        )


def test_the_checkpoint_before_is_kept(tmp_path):
    path = tmp_path / "c.safetensors"
    for count in (1, 2, 3):
        save(path, count)
    assert loaded_count(path) == 3
    assert loaded_count(previous_path(path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, previous_path(path).name]


@pytest.mark.parametrize("damage", ["empty", "header", "half", "one byte short", "one bit"])
@pytest.mark.promise(6)
def test_a_damaged_file_gives_the_previous_one_and_says_so(tmp_path, damage, faults):
    path = tmp_path / "c.safetensors"
    save(path, 1)
    save(path, 2)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-1000] ^= 1
    path.write_bytes(
        {
            "empty": b"",
            "header": content[:20],
            "half": content[: len(content) // 2],
            "one byte short": content[:-1],
            "one bit": bytes(flipped),
        }[damage]
    )
    faults.tries("checkpoint truncated or damaged")
    with pytest.warns(CheckpointWarning, match=r"damaged.*using c\.safetensors\.previous"):
        assert loaded_count(path) == 1
    save(path, 3)
    assert loaded_count(path) == 3


def test_a_missing_newest_file_gives_the_previous_one(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, 1)
    save(path, 2)
    path.unlink()
    with pytest.warns(CheckpointWarning):
        assert loaded_count(path) == 1


def test_damage_without_a_previous_one_names_the_file_and_changes_nothing(tmp_path):
    path = tmp_path / "c.safetensors"
    save(path, 1)
    torn = path.read_bytes()[:5000]
    path.write_bytes(torn)
    with pytest.raises(UserError, match=r"c\.safetensors is damaged"):
        checkpoint.load(path)
    assert path.read_bytes() == torn
    assert list(tmp_path.iterdir()) == [path]


def test_a_safetensors_file_of_something_else_is_refused(tmp_path):
    import safetensors.torch

    path = tmp_path / "c.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="format None instead of"):
        checkpoint.load(path)


@pytest.mark.parametrize("name", ["none.safetensors", "."])
def test_no_file_is_a_clear_error(tmp_path, name):
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load(tmp_path / name)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"name": "cartpole", "spec_hash": "ab" * 32}, "is of system 'toy', not of 'cartpole'"),
        ({"name": "toy", "spec_hash": "cd" * 32}, "another specification"),
    ],
)
def test_a_checkpoint_of_another_system_is_refused(tmp_path, other, message):
    path = tmp_path / "c.safetensors"
    save(path, 1)
    checkpoint.load(path, SimpleNamespace(name="toy", spec_hash="ab" * 32))
    with pytest.raises(UserError, match=message):
        checkpoint.load(path, SimpleNamespace(**other))


def test_metadata_without_the_system_is_a_programming_error(tmp_path):
    with pytest.raises(ValueError, match="spec_hash"):
        checkpoint.save(tmp_path / "c.safetensors", {}, {"system": "toy"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise(6)
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, faults):
    """The size limit of files stands in for the disk: writes fail half-way with an OS error."""
    path = tmp_path / "c.safetensors"
    save(path, 1)
    before = path.read_bytes()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        try:
            save(path, 2)
        except UserError as error:
            os._exit(42 if "cannot write checkpoint" in str(error) else 1)

    faults.tries("full disk while a checkpoint is written")
    assert os.waitstatus_to_exitcode(in_child(work)) == 42
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_an_error_at_any_later_step_leaves_the_old_checkpoint(tmp_path, monkeypatch, call):
    path = tmp_path / "c.safetensors"
    save(path, 1)

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        if call == "link":  # a file system without hard links: renamed instead
            save(path, 2)
        else:
            with pytest.raises(UserError, match="No space left"):
                save(path, 2)
    assert loaded_count(path) == (2 if call == "link" else 1)
    assert [p for p in tmp_path.iterdir() if p.name == f".{path.name}.tmp"] == []


@pytest.mark.promise(6)
def test_killed_before_any_single_step_of_saving_it_still_loads(tmp_path, faults):
    """SIGKILL before the k-th call that touches the disk, for every k."""
    path = tmp_path / "c.safetensors"
    save(path, 1)
    save(path, 2)
    seen = []
    for k in range(100):

        def work(k: int = k) -> None:
            left = k

            def deadly(call):
                def wrapper(*args, **kwargs):
                    nonlocal left
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                    return call(*args, **kwargs)

                return wrapper

            for name in ("open", "fsync", "link", "replace", "close", "unlink"):
                setattr(os, name, deadly(getattr(os, name)))
            save(path, 3)

        status = in_child(work)
        seen.append(loaded_count(path))
        if not os.WIFSIGNALED(status):
            break
    faults.tries("SIGKILL before a step of saving", len(seen) - 1)
    assert len(seen) >= 6
    assert set(seen) <= {2, 3} and seen[0] == 2 and seen[-1] == 3


@pytest.mark.promise(6)
def test_killed_at_random_times_it_always_loads(tmp_path, faults):
    path = tmp_path / "c.safetensors"
    save(path, 0)
    newest = 0
    for _ in faults.times(25):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            count = newest
            while True:
                count += 1
                save(path, count)
                os.write(write, b".")
        os.read(read, 1)  # one save is complete; die somewhere in those that follow
        time.sleep(faults.random.uniform(0.0, 0.02))
        faults.tries("SIGKILL at a random time of saving")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
        count = loaded_count(path)
        assert count > newest
        newest = count


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch, recwarn):
    """safetensors opens it twice, so that header and content may be of two files."""
    path = tmp_path / "latest.safetensors"
    save(path, 1)
    read, reads = checkpoint._read_once, []

    def torn(path):
        reads.append(path)
        if len(reads) == 1:
            save(path, 2)
            raise checkpoint._DamagedError("checksum differs")
        return read(path)

    monkeypatch.setattr(checkpoint, "_read_once", torn)
    assert loaded_count(path) == 2 and len(reads) == 2 and not recwarn
