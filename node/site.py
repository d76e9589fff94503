"""A configuration's ledger, models and zone, opened; and what is allowed but hardly meant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import alembic.util
import sqlalchemy as sa
from tzlocal import get_localzone

from node.belonging import belong_to, fault_of_belonging, fault_of_emptiness, owner_of
from node.config import ChosenModel, Config
from node.errors import ConfigError
from node.ledger import Examination, Filing, Ledger, examine, release_of_tables
from node.ledger.moving import why_no_node_may_run
from node.manifest import (
    CARD,
    OPEN_QUESTION,
    ManifestTriage,
    Model,
    is_copy,
    load_model,
    other_with_device_uid,
    package_folder,
)
from node.store import Store
from node.toml_file import shown


def local_zone(config: Config) -> tzinfo:
    """Return the zone of times in objects whose source does not say its own."""
    return ZoneInfo(config.node.timezone) if config.node.timezone else get_localzone()


def load_models(config: Config) -> dict[str, Model]:
    """Open every model that is not off, and verify its weights."""
    return {
        chosen.name: load_chosen(config, chosen) for chosen in config.models if chosen.mode != "off"
    }


def load_chosen(config: Config, chosen: ChosenModel) -> Model:
    """Open a model, verify its weights, and let its levels begin where the configuration says."""
    model = load_model(chosen.name, *config.models_dirs)
    if chosen.urgent is None and chosen.soon is None:
        return model
    return model.at_points(chosen.urgent, chosen.soon)


def levels_in_words(model: Model) -> str:
    """Return where the levels of a model begin here, "" if where its package says."""
    here, packaged = model.manifest.triage, model.as_packaged.triage
    if here is None or packaged is None or here == packaged:
        return ""
    return f"{_levels(here)} (its package says {_levels(packaged)})"


def _levels(triage: ManifestTriage) -> str:
    soon = f', soon from "{triage.soon}"' if triage.soon else ""
    return f'urgent from its operating point "{triage.urgent}" on{soon}'


def doubt_about_licence(chosen: ChosenModel, model: Model) -> str:
    """Return what to consider before results reach a patient's study, "" if there is nothing."""
    licence = model.manifest.licence.weights
    if chosen.mode != "deliver" or not licence.startswith("LicenseRef"):
        return ""
    return (
        f"Model {chosen.name} delivers, and its weights are under a licence of their own "
        f"({licence}, in {model.folder}), which may forbid the care of patients."
    )


def faults_of_models(config: Config, models: Mapping[str, Model]) -> Iterator[tuple[str, str]]:
    """Yield models that must not deliver as they are, each with what is wrong and what to do.

    A node that delivers with such a one goes on, as it did before anybody looked.
    """
    delivering = [one.name for one in config.models if one.mode == "deliver" and one.name in models]
    for name in delivering:
        if words := _amiss_in_card(models[name].folder / CARD):
            yield name, f'Model {name} delivers and {words}, or set mode = "shadow".'
    for name, model in models.items():
        if other := other_with_device_uid(model, config.models_dirs):
            words = f"Model {name} has the device_uid of {other.manifest.name} in {other.folder}: "
            words += "results cannot be told apart; give one of them another: each version of a "
            yield name, f"{words}model has its own."


def _amiss_in_card(card: Path) -> str:
    if not card.is_file():
        return f"has no model card: write {card}, what it measures and is not"
    if OPEN_QUESTION.encode() in card.read_bytes():
        return f"its model card has open questions: answer them in {card}"
    return ""


def twice_there(config: Config, models: Mapping[str, Model]) -> Iterator[str]:
    """Yield models of which another package of the same name is not used."""
    for name, model in models.items():
        for folder in config.models_dirs[1:]:
            other = package_folder(name, folder)
            if other is None or other.resolve() == model.folder.resolve():
                continue
            if not is_copy(model, Model(other)):
                yield (
                    f"Model {name} is the one in {model.folder}; another of that name, in {other}, "
                    "is not used: rename yours, or remove it, if that is not meant."
                )


def advice_on_models(config: Config, models: Mapping[str, Model]) -> list[str]:
    """Return what is allowed but hardly meant, as far as only the models tell."""
    chosen = (one for one in config.models if one.name in models)
    doubts = [doubt for one in chosen if (doubt := doubt_about_licence(one, models[one.name]))]
    found = [*doubts, *twice_there(config, models), *kinds_nobody_makes(config, models)]
    return [*found, *lists_told_nothing(config, models)]


def lists_told_nothing(config: Config, models: Mapping[str, Model]) -> list[str]:
    """Return of which models reading lists are to be told that give no level that counts."""
    sentences = []
    for one in config.lists:
        for name in (name for name in one.models if name in models):
            model = models[name]
            of = f'Destination "{one.name}" is told of {name}, which'
            if model.manifest.triage is None:
                sentences.append(f"{of} gives no triage level: it is told nothing of it.")
            elif model.identity.is_demonstration and not config.triage.demonstration_may_rank:
                sentences.append(
                    f"{of} is a demonstration, whose level does not count "
                    "(demonstration_may_rank = false): it is told nothing of it."
                )
    return sentences


def kinds_nobody_makes(config: Config, models: Mapping[str, Model]) -> list[str]:
    """Return which kinds of object somebody is to get that no model makes, a sentence for each.

    Nothing where no model delivers: `config.advice` says so, and nobody gets anything.
    """
    manifests = [
        models[one.name].manifest
        for one in config.models
        if one.mode == "deliver" and one.name in models
    ]
    sentences = []
    wanted = [(f'Peer "{peer.name}"', peer.kinds) for peer in config.peers]
    wanted += [(f'Folder "{folder.name}"', folder.kinds) for folder in config.folders]
    for who, kinds in wanted if manifests else ():
        made = [kind for kind in kinds if any(each.makes(kind) for each in manifests)]
        if missing := [kind for kind in kinds if kind not in made]:
            left = "pictures alone" if made == ["capture"] else " and ".join(made)
            sentences.append(
                f"{who}: no model that delivers makes {' or '.join(missing)}; it gets {left}."
            )
    return sentences


def open_ledger(config: Config) -> Ledger:
    """Open the ledger of a configuration, with its schema up to date."""
    config.node.state_dir.mkdir(parents=True, exist_ok=True)
    with _database_errors_as_messages(config):
        ledger = Ledger(config.database_url, dead_after_s=config.node.dead_after_s)
        ledger.migrate()
    return ledger


def open_own_ledger(config: Config, store: Store) -> Ledger:
    """Open the ledger that a node is to work with, up to date; its store belongs to it from then.

    Raises ConfigError if it has moved, is no whole copy, or is not that of the store, or if the
    store is not mounted. Of a ledger that would be new nothing is made then.
    """
    with _store_errors_as_messages(config):
        if fault := fault_of_ledger(config):
            raise ConfigError(fault)
        ledger = open_ledger(config)
        try:
            if fault := fault_of_emptiness(store, Filing(ledger).names_files):
                raise ConfigError(f"[node] {fault}")  # of a former release's, told only by now
            belong_to(store, ledger.installation)
        except BaseException:
            ledger.close()
            raise
    return ledger


def fault_of_ledger(config: Config, *, only_shows: bool = False) -> str:
    """Return why no node must start on a configuration's ledger with its store, "" if one may.

    One that only shows may where the store is not mounted. Of another release's ledger only what
    can be told. Nothing is changed.
    """
    is_server = config.database_url.startswith("postgresql:")
    if not is_server and not _may_be_there(_file_of_ledger(config)):
        return _fault_with_store(config, None)
    with _database_errors_as_messages(config):
        ledger = Ledger(config.database_url)
        with contextlib.closing(ledger):
            fault = _fault_of(ledger, config)
            if fault or only_shows:
                return fault
            return _fault_of_emptiness(ledger, config)


def _fault_of_emptiness(ledger: Ledger, config: Config) -> str:
    with ledger.reading() as db:
        if release_of_tables(db) != "current":
            return ""
    with _store_errors_as_messages(config):
        fault = fault_of_emptiness(Store(config.store_dir), Filing(ledger).names_files)
    return f"[node] {fault}" if fault else ""


def _fault_of(ledger: Ledger, config: Config) -> str:
    with ledger.reading() as db:
        why = why_no_node_may_run(db) if release_of_tables(db) == "current" else ""
    if why:
        return f"[node] database {shown(config.database_url)} {why}"
    return _fault_with_store(config, _installation_known(ledger, config))


def _installation_known(ledger: Ledger, config: Config) -> str | None:
    """Return whose a ledger is; None if no node has run on it, and the store is not its own."""
    if ledger.has_run:
        return ledger.installation
    with _store_errors_as_messages(config):
        owner = owner_of(Store(config.store_dir))
    # A first start that was killed, or a person, may have written it before a node had run.
    is_own = owner is not None and ledger.is_there and owner == ledger.installation
    return owner if is_own else None


def _fault_with_store(config: Config, installation: str | None) -> str:
    with _store_errors_as_messages(config):
        fault = fault_of_belonging(Store(config.store_dir), installation)
    return f"[node] {fault}" if fault else ""


@contextlib.contextmanager
def _store_errors_as_messages(config: Config) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"[node] store_dir {config.store_dir}: cannot be written ({error.strerror}); "
            "`ai-node doctor` says more"
        ) from error


def existing_ledger(config: Config) -> Ledger:
    """Open the ledger of a node that has run; raise ConfigError if there is none.

    And if it has moved, is no whole copy, or is not that of the store.
    """
    if (ledger := _found_ledger(config)) is not None:
        return ledger
    where = shown(config.database_url)
    if not config.database_url.startswith("postgresql:"):
        where = str(_file_of_ledger(config))
    if fault := _fault_with_store(config, None):
        raise ConfigError(fault)
    raise ConfigError(
        f"there is no ledger at {where}: no node has run with this configuration yet; start it "
        "with `ai-node run`"
    )


def ledger_to_show(config: Config) -> Ledger:
    """Open the ledger that a page shows; of a node that has never run, the one it would make.

    Also where the store is not mounted, for then above all somebody has to tell: whoever only shows
    puts nothing there, and does not say either whose the store is.
    """
    with _store_errors_as_messages(config):
        if fault := fault_of_ledger(config, only_shows=True):
            raise ConfigError(fault)
        return open_ledger(config)


def existing_or_new_ledger(config: Config) -> Ledger:
    """Open the ledger of a node that has run, or make the one that its first start would."""
    if (ledger := _found_ledger(config)) is not None:
        return ledger
    if fault := _fault_with_store(config, None):
        raise ConfigError(fault)
    return open_ledger(config)


def ledger_as_it_is(config: Config) -> Ledger | None:
    """Open the ledger if a node of this release has run on it; None if not, or it cannot be."""
    try:
        return _found_ledger(config)
    except ConfigError:  # whoever needs it says so
        return None


def _found_ledger(config: Config) -> Ledger | None:
    """Open the ledger if it is there; raise ConfigError if it must not be used."""
    ledger = ledger_to_move(config)
    if ledger is None:
        return None
    try:
        with _database_errors_as_messages(config):
            fault = _fault_of(ledger, config)
        if fault:
            raise ConfigError(fault)
    except BaseException:
        ledger.close()
        raise
    return ledger


def ledger_to_move(config: Config) -> Ledger | None:
    """Open the ledger if it is there, wherever its rows are by now.

    Raises ConfigError if it is another release's.
    """
    is_server = config.database_url.startswith("postgresql:")
    with _database_errors_as_messages(config):
        if is_server or _may_be_there(_file_of_ledger(config)):
            ledger = Ledger(config.database_url, dead_after_s=config.node.dead_after_s)
            with ledger.reading() as db:
                tables = release_of_tables(db)
            if tables == "current" and ledger.is_there:
                return ledger
            ledger.close()
            if tables in _OTHER_RELEASE:
                where = shown(config.database_url)
                raise ConfigError(f"[node] database {where} {_OTHER_RELEASE[tables]}")
    return None


def _file_of_ledger(config: Config) -> Path:
    return Path(config.database_url.removeprefix("sqlite:///"))


_OTHER_RELEASE = {
    "older": "is as an earlier release left it; start this one with `ai-node run`, "
    "which brings it up to date",
    "newer": "belongs to a newer release of the node; install that release here too",
}


def _may_be_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be looked at ({error.strerror}); run this as the user the node runs "
            "as, such as: sudo -u ai-node ai-node ..."
        ) from error
    return True


def try_database(config: Config) -> None:
    """Connect to the database server of a configuration, if it names one; or raise ConfigError."""
    if config.database_url.startswith("postgresql:"):
        with _database_errors_as_messages(config):
            ledger = Ledger(config.database_url)
            with contextlib.closing(ledger), ledger.reading() as db:
                db.execute(sa.select(1))


def examine_database(config: Config) -> Examination:
    """Look at the database of a configuration, and change nothing; or raise ConfigError."""
    with _database_errors_as_messages(config):
        ledger = Ledger(config.database_url)
        with contextlib.closing(ledger):
            return examine(ledger)


def _database_errors_as_messages(config: Config) -> contextlib.AbstractContextManager[None]:
    return database_errors_as_messages(config.database_url, "[node] database")


@contextlib.contextmanager
def database_errors_as_messages(url: str, where: str) -> Iterator[None]:
    """Say what is wrong with a database, and where it is named, and never its password."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise ConfigError(
            f"{where} {shown(url)} cannot be used: {reason}; see that it "
            "runs, and that this machine and this user may create tables there"
        ) from error
    except alembic.util.CommandError as error:
        raise ConfigError(
            f"{where} {shown(url)} belongs to a newer release of the node "
            f"({error}); install that release here too"
        ) from error
