"""A model package is kept as it was, whole, for as long as any work or node needs it."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest
import small_models
from ledgers import Desk

from node import toml_file
from node.belonging import belong_to
from node.errors import ConfigError
from node.ledger import KnownPackages, Mode, PlannedAnalysis
from node.manifest import Model
from node.running import kept_packages
from node.running.kept_packages import (
    UNUSED_AFTER_S,
    KeptPackages,
    former_model,
    record_packages,
    refuse_changed_packages,
)
from node.store import Store
from node.toml_file import Section


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "models").mkdir()
    return small_models.model(tmp_path / "models")


@pytest.fixture
def packages(tmp_path: Path) -> KeptPackages:
    return KeptPackages(store_in(tmp_path / "store"), "node-1")


def store_in(folder: Path) -> Path:
    """Make the folder of a store that says whose it is."""
    folder.mkdir()
    belong_to(Store(folder), "an installation")
    return folder


def change(model: Model) -> Model:
    """Put another network in the place of a model's, under the same version."""
    weights = model.weights_path
    weights.write_bytes(weights.read_bytes() + b" ")
    return small_models.declared(model.folder)


def test_it_is_there_as_it_was_after_the_package_has_changed(
    model: Model, packages: KeptPackages
) -> None:
    packages.keep(model)
    before = model.weights_path.read_bytes()
    change(model)
    kept = packages.open_kept("small", model.package_digest)
    assert kept is not None
    assert kept.read_weights() == before
    assert packages.model_in_its_copy(model).folder == kept.folder
    assert [path.name for path in packages.folder.iterdir()] == [model.package_digest]


def test_comments_and_order_make_no_other_package_and_weights_and_words_do(model: Model) -> None:
    manifest = model.folder / "manifest.toml"
    text = manifest.read_text("utf-8")
    manifest.write_text(f"# a comment\n{text}\n", "utf-8")
    assert Model(model.folder).package_digest == model.package_digest
    manifest.write_text(text.replace('title = "', 'title = "New '), "utf-8")
    other = Model(model.folder)
    assert other.package_digest != model.package_digest
    assert change(other).package_digest != other.package_digest


def test_what_is_damaged_of_a_copy_is_made_anew(model: Model, packages: KeptPackages) -> None:
    packages.keep(model)
    copy = packages.model_in_its_copy(model)
    copy.weights_path.write_bytes(b"")
    packages.keep(model)
    copy.verify_weights()


def test_a_package_that_changes_while_it_is_read_is_refused(
    model: Model, packages: KeptPackages
) -> None:
    change(model)
    with pytest.raises(ConfigError, match="has changed while it was read: put the whole package"):
        packages.keep(model)
    assert packages.open_kept("small", model.package_digest) is None


def test_nothing_is_begun_on_the_disk_below_a_store_that_is_away(
    model: Model, tmp_path: Path
) -> None:
    for place in (tmp_path / "empty", tmp_path / "missing"):
        if place.name == "empty":
            place.mkdir()
        with pytest.raises(ConfigError, match="the store is not there; mount its disk"):
            KeptPackages(place, "node-1").keep(model)
    assert [*(tmp_path / "empty").iterdir()] == []
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("changes_to", [None, "name ="])
def test_a_package_that_goes_or_changes_between_two_looks_at_it_is_refused_in_words(
    model: Model, packages: KeptPackages, monkeypatch: pytest.MonkeyPatch, changes_to: str | None
) -> None:
    """Another node puts a damaged copy aside just then, or a person replaces the package."""
    packages.keep(model)
    manifest = packages.model_in_its_copy(model).folder / "manifest.toml"
    load = toml_file.load

    def and_then_change(path: Path, section: type[Section]) -> Section:
        loaded = load(path, section)
        if changes_to is None:
            manifest.unlink()
        else:
            manifest.write_text(changes_to)
        return loaded

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(toml_file, "load", and_then_change)
        assert packages.open_kept("small", model.package_digest) is None
    packages.keep(model)
    assert packages.open_kept("small", model.package_digest) is not None


@pytest.mark.parametrize("is_damaged", [False, True])
def test_several_nodes_may_keep_the_same_at_once(
    model: Model, tmp_path: Path, *, is_damaged: bool
) -> None:
    faults: list[ConfigError] = []
    for number in range(20):
        store, at_once = store_in(tmp_path / f"store-{number}"), threading.Barrier(3)

        def keep(node_id: str, store: Path = store, at_once: threading.Barrier = at_once) -> None:
            packages = KeptPackages(store, node_id)
            at_once.wait()
            try:
                packages.keep(model)
                if not is_damaged:  # else another may just put the good one there once more
                    packages.model_in_its_copy(model).verify_weights()
            except ConfigError as error:
                faults.append(error)

        if is_damaged:
            first = KeptPackages(store, "before")
            first.keep(model)
            first.model_in_its_copy(model).weights_path.write_bytes(b"")
        nodes = [threading.Thread(target=keep, args=(f"node-{one}",)) for one in range(3)]
        for node in nodes:
            node.start()
        for node in nodes:
            node.join()
        assert [path.name for path in (store / "packages").iterdir()] == [model.package_digest]
        KeptPackages(store, "after").model_in_its_copy(model).verify_weights()
    assert not faults


def test_a_copy_that_a_disk_does_not_give_just_now_stays_as_it_is(
    model: Model, packages: KeptPackages, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.keep(model)
    copy = packages.model_in_its_copy(model).weights_path
    as_it_is = Path.read_bytes

    def broken(path: Path) -> bytes:
        if path == copy:
            raise OSError(errno.EIO, "Input/output error")
        return as_it_is(path)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "read_bytes", broken)
        with pytest.raises(ConfigError, match=r"cannot be read \(Input/output error\)"):
            packages.keep(model)
    packages.model_in_its_copy(model).verify_weights()


def test_what_was_left_half_copied_by_a_node_that_was_killed_is_removed_in_time(
    model: Model, packages: KeptPackages
) -> None:
    half = packages.folder / f"{model.package_digest}.killed"
    half.mkdir(parents=True)
    packages.keep(model)
    packages.remove_unused({model.package_digest})
    assert half.exists()
    long_ago = time.time() - UNUSED_AFTER_S - 1
    for folder in packages.folder.iterdir():
        os.utime(folder, (long_ago, long_ago))
    packages.remove_unused({model.package_digest})
    assert [path.name for path in packages.folder.iterdir()] == [model.package_digest]


def test_it_goes_once_nobody_needs_it_and_no_node_says_that_it_uses_it(
    model: Model, packages: KeptPackages
) -> None:
    packages.keep(model)
    packages.remove_unused(())
    assert packages.open_kept("small", model.package_digest) is not None
    folder = packages.folder / model.package_digest
    long_ago = time.time() - UNUSED_AFTER_S - 1
    os.utime(folder, (long_ago, long_ago))
    packages.say_used([model.package_digest])
    packages.remove_unused(())
    assert folder.exists()
    os.utime(folder, (long_ago, long_ago))
    packages.remove_unused({model.package_digest})
    assert folder.exists()
    packages.remove_unused(())
    assert not folder.exists()


def test_a_version_is_one_package(model: Model, desk: Desk) -> None:
    known = KnownPackages(desk.ledger)
    record_packages(known, {"small": model})
    record_packages(known, {"small": model})
    refuse_changed_packages(known, {"small": model})
    changed = change(model)
    for look in (refuse_changed_packages, record_packages):
        with pytest.raises(ConfigError) as refused:
            look(known, {"small": changed})
        words = str(refused.value)
        assert f"{model.folder / 'manifest.toml'}:3: version: 1.0.0 of small has run here" in words
        assert "give what has changed a new version, or put back what was" in words


def test_a_package_is_needed_by_what_is_to_be_analysed_with_it(desk: Desk) -> None:
    from node.ledger import Closing

    plan = PlannedAnalysis("small", "1.0.0", "0" * 64, Mode.SHADOW, "digest")
    known = KnownPackages(desk.ledger)
    desk.receive()
    job = desk.close(Closing("4/4 views", (plan,)))
    assert known.needed() == {"digest"}
    assert desk.begin(job).analyses == (plan,)
    assert known.needed() == {"digest"}
    desk.finish(job)
    assert known.needed() == frozenset()


def test_a_model_is_as_it_was_when_the_version_was_closed(
    model: Model, packages: KeptPackages
) -> None:
    packages.keep(model)
    plan = PlannedAnalysis("small", "1.0.0", "0" * 64, Mode.SHADOW, model.package_digest)
    found = former_model(packages, {}, plan)
    assert found is not None
    assert (found.manifest, found.package_digest) == (model.manifest, model.package_digest)
    assert former_model(packages, {model.package_digest: model}, plan) is not None
    gone = PlannedAnalysis("small", "1.0.0", "0" * 64, Mode.SHADOW, "0" * 64)
    assert former_model(packages, {}, gone) is None


def test_a_store_that_cannot_be_written_is_said(model: Model, packages: KeptPackages) -> None:
    packages.folder.write_bytes(b"a file")
    with pytest.raises(ConfigError, match="cannot be copied to"):
        packages.keep(model)


assert kept_packages.LOOK_EVERY_S * 10 < UNUSED_AFTER_S, "a node says often enough what it uses"
