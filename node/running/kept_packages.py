"""Each model package that a node runs with, copied beside the store's objects.

What waits to be analysed is analysed by the package of when its study was complete, whatever has
become of the folder that it was read from: a changed package is a new version beside the old one,
until no work names the old one any more. Nodes that share a store share the copies.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError
from node.ledger import KnownPackages, PackageVersion, PlannedAnalysis
from node.manifest import CARD, MANIFEST, Model
from node.new_folders import fsync_path
from node.store import Store
from node.toml_file import line_numbers

log = logging.getLogger(__name__)

LOOK_EVERY_S = 600.0
UNUSED_AFTER_S = 86_400.0
"""A copy that no node has said for so long that it uses is nobody's: clocks may differ."""


@dataclass(frozen=True, slots=True)
class KeptPackages:
    """The copies in one store."""

    store_dir: Path
    node_id: str

    @property
    def folder(self) -> Path:
        """Where they lie: a folder for each digest, in it the package under its name."""
        return self.store_dir / "packages"

    def keep(self, model: Model) -> None:
        """Copy the package of a model unless it is there.

        Raises ConfigError if that cannot be, the package has just changed, or the store is away: on
        the disk below nothing is begun.
        """
        target = self._place(model.package_digest, model.manifest.name)
        if not Store(self.store_dir).is_there():
            raise ConfigError(
                f"{model.folder} cannot be copied to {target}: the store is not there; mount its "
                "disk, then reload or start again"
            )
        try:
            self.folder.mkdir(exist_ok=True)
            if not _is_whole(target, model):
                self._put(model, target)
        except OSError as error:
            raise ConfigError(
                f"{model.folder} cannot be copied to {target}, or what is there cannot be read "
                f"({error.strerror}); what waits is analysed by that even after the package has "
                "changed; `ai-node doctor` examines the store"
            ) from error
        self.say_used([model.package_digest])

    def model_in_its_copy(self, model: Model) -> Model:
        """Return a model in the copy that `keep` makes: what is loaded of it later is the same."""
        return model.in_folder(self._place(model.package_digest, model.manifest.name))

    def open_kept(self, name: str, digest: str) -> Model | None:
        """Return a package as it was kept; None if it is not there any more."""
        folder = self._place(digest, name)
        try:
            model = Model(folder)
        except ConfigError as error:
            log.error("The package %s is not kept any more: %s", folder, error)  # noqa: TRY400
            return None
        return model if model.package_digest == digest else None

    def say_used(self, digests: Iterable[str]) -> None:
        """Let other nodes, and this one after a restart, know that these are in use."""
        for digest in digests:
            with contextlib.suppress(OSError):  # what is not there is made anew when it is needed
                os.utime(self.folder / digest)

    def remove_unused(self, needed: Collection[str]) -> None:
        """Remove the copies that no work needs and no node uses."""
        for path in self._unused(needed):
            log.info("Nothing is analysed with the model package %s any more; it is removed", path)
            shutil.rmtree(path, ignore_errors=True)

    def _unused(self, needed: Collection[str]) -> Iterator[Path]:
        before = time.time() - UNUSED_AFTER_S
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.folder.iterdir()):
                with contextlib.suppress(FileNotFoundError):  # another node was faster
                    if path.name not in needed and path.stat().st_mtime < before:
                        yield path

    def _place(self, digest: str, name: str) -> Path:
        return self.folder / digest / name

    def _put(self, model: Model, target: Path) -> None:
        """Have a package there whole or not at all, also after a power cut, or if others do so."""
        temporary = self.folder / f"{model.package_digest}.{self.node_id}"
        damaged = self.folder / f"{temporary.name}.damaged"
        try:
            self._copy(model, temporary / target.name)
            while not _is_there(temporary, target.parent):
                if _is_whole(target, model):
                    break  # another node was faster
                shutil.rmtree(damaged, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    target.parent.rename(damaged)
        finally:
            for path in (temporary, damaged):
                shutil.rmtree(path, ignore_errors=True)
        fsync_path(self.folder)

    def _copy(self, model: Model, package: Path) -> None:
        shutil.rmtree(package.parent, ignore_errors=True)
        package.parent.mkdir()
        package.mkdir()
        for name in (MANIFEST, model.manifest.weights.file, CARD):
            if (model.folder / name).is_file():
                (package / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(model.folder / name, package / name)
                fsync_path(package / name)
        fsync_path(package)
        fsync_path(package.parent)
        if not _is_whole(package, model):
            raise ConfigError(
                f"{model.folder} has changed while it was read: put the whole package in its "
                "place, then reload or start again"
            )


def _is_there(temporary: Path, folder: Path) -> bool:
    """Put a folder in its place; False if something is in it."""
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _is_whole(folder: Path, model: Model) -> bool:
    """Whether a package is that of a model; raises OSError if it is there and cannot be read."""
    try:
        kept = Model(folder)
        kept.verify_weights()
    except ConfigError as error:
        why = error.__cause__
        if isinstance(why, OSError) and not isinstance(why, FileNotFoundError):
            raise why from error
        return False
    return kept.package_digest == model.package_digest


def package_digests(models: Iterable[Model]) -> frozenset[str]:
    """Return the digests of the packages of some models."""
    return frozenset(model.package_digest for model in models)


def as_versions(models: Mapping[str, Model]) -> list[PackageVersion]:
    """Return the packages of some models as the ledger knows them."""
    return [
        PackageVersion(model.manifest.name, model.manifest.version, model.package_digest)
        for model in models.values()
    ]


def faults_of_packages(
    otherwise: Mapping[PackageVersion, str], models: Mapping[str, Model]
) -> Iterator[str]:
    """Yield which packages have changed, and say that they are the same version."""
    for one, known in otherwise.items():
        yield (
            f"{_place_of_version(models[one.name])}: version: {one.version} of {one.name} has run "
            f"here as another package (digest {known[:12]}, now {one.digest[:12]}), and reports "
            "name it by its version: give what has changed a new version, or put back what was"
        )


def _place_of_version(model: Model) -> str:
    path = model.folder / MANIFEST
    return f"{path}:{line_numbers(path.read_text('utf-8')).get(('version',), 1)}"


def refuse_changed_packages(known: KnownPackages, models: Mapping[str, Model]) -> None:
    """Raise ConfigError if a package has changed and says that it is the same version."""
    if faults := list(faults_of_packages(known.otherwise(as_versions(models)), models)):
        raise ConfigError("\n".join(faults))


def record_packages(known: KnownPackages, models: Mapping[str, Model]) -> None:
    """Record which packages a node runs with; raise ConfigError as `refuse_changed_packages`."""
    if faults := list(faults_of_packages(known.record(as_versions(models)), models)):
        raise ConfigError("\n".join(faults))


def former_model(
    packages: KeptPackages, running: Mapping[str, Model], planned: PlannedAnalysis
) -> Model | None:
    """Return a model as a study version was closed for it; None if it is not kept any more.

    `running`: what is loaded now, by digest.
    """
    digest = planned.package_digest or ""
    model = running.get(digest) or packages.open_kept(planned.model, digest)
    if model is None:
        return None
    as_packaged = Model(model.folder, model.as_packaged)
    as_packaged.package_digest = digest
    return (
        as_packaged if planned.levels_from is None else as_packaged.at_points(*planned.levels_from)
    )
