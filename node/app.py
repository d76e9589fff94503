"""Puts the parts together, starts, drains, stops. The only module that knows all of them."""

from __future__ import annotations

import fcntl
import logging
import threading
import uuid
from datetime import tzinfo
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

from tzlocal import get_localzone

from node.comparison import Comparison
from node.completeness import Settler
from node.config import Config, advice
from node.engine import Engine
from node.errors import ConfigError
from node.files import Store
from node.inference import Inference
from node.ledger import Ledger
from node.listener import Hooks, Listener
from node.manifest import Model, load_model
from node.outputs.table import PRESETS
from node.pipeline import Pipeline
from node.timers import BEAT_EVERY_S, RECONCILE_EVERY_S, SETTLE_EVERY_S, Timers, reconcile
from node.warmer import Warmer
from node.workflow import Workflow

log = logging.getLogger(__name__)

_DRAIN_ASSOCIATIONS_S = 10
_DRAIN_JOBS_S = 30


def local_zone(config: Config) -> tzinfo:
    """Return the zone of times in objects whose source does not say its own."""
    return ZoneInfo(config.node.timezone) if config.node.timezone else get_localzone()


def load_models(config: Config) -> dict[str, Model]:
    """Open every model that is not off, and verify its weights."""
    return {
        model.name: load_model(model.name, config.models_dir)
        for model in config.models
        if model.mode != "off"
    }


def open_ledger(config: Config) -> Ledger:
    """Open the ledger of a configuration, with its schema up to date."""
    config.node.state_dir.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(database_url(config))
    ledger.migrate()
    return ledger


def existing_ledger(config: Config) -> Ledger:
    """Open the ledger of a node that has run; raise ConfigError if there is none."""
    if not ledger_path(config).exists():
        raise ConfigError(
            f"{ledger_path(config)} does not exist: no node has run with this configuration yet; "
            "start it with `ai-node run`"
        )
    return Ledger(database_url(config))


def ledger_path(config: Config) -> Path:
    """Return the file of the ledger."""
    return config.node.state_dir / "ledger.db"


def database_url(config: Config) -> str:
    """Return where ledger and queue lie."""
    return f"sqlite:///{ledger_path(config)}"


class App:
    """A running node."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.node_id = str(uuid.uuid4())
        self.failed = threading.Event()
        """Set when a part has died: the process should stop and be started afresh."""
        self._models = load_models(config)
        self._lock = _lock_state_dir(config.node.state_dir)
        self.ledger = open_ledger(config)
        self.store = Store(config.store_dir)
        self._inference = Inference(config.inference, tuple(self._models.values()))
        pipeline = Pipeline(
            inference=self._inference,
            scores=self.ledger,
            local_zone=local_zone(config),
            outputs=PRESETS["default"],
        )
        models = tuple(self._models.values())
        self._warmer = Warmer(self.ledger, self.store, pipeline, models, self.node_id)
        workflow = Workflow(
            config=config,
            ledger=self.ledger,
            store=self.store,
            pipeline=pipeline,
            models=self._models,
            node_id=self.node_id,
        )
        self._engine = Engine(
            database_url(config),
            self.node_id,
            {
                "process": lambda job: workflow.process(job, self._engine),
                "deliver": lambda job: workflow.deliver(job, self._engine),
            },
        )
        self._settler = Settler(
            self.ledger,
            self._engine.enqueue,
            config.completeness,
            [
                (self._models[model.name], model.mode)
                for model in config.models
                if model.name in self._models
            ],
        )
        self._timers = Timers(self.failed.set)
        modalities = frozenset(m.manifest.input.modality for m in self._models.values())
        self._comparison = Comparison(config.inference)
        hooks = Hooks(self._on_stored, modalities, self._comparison.compare)
        self._listener = Listener(config, self.store, self.ledger, self.node_id, hooks)

    @property
    def port(self) -> int:
        """The port the listener really uses."""
        return self._listener.port

    def start(self) -> None:
        """Begin to listen and to work, first at what a former process left."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        for line in advice(self.config):
            log.warning("%s", line)
        self.store.prepare()
        self.ledger.bury_other_nodes(self.node_id)  # we hold the lock of the state folder
        self.ledger.register_node(self.node_id)
        self._inference.start()
        self._listener.start()  # before the engine: if the port is taken, no job has been begun
        self._engine.start(processes=self.config.inference.processes)
        self._reconcile()
        self._timers.every(BEAT_EVERY_S, lambda: self.ledger.beat(self.node_id), "beat")
        self._timers.every(SETTLE_EVERY_S, self._settler.settle, "settle")
        self._timers.every(RECONCILE_EVERY_S, self._reconcile, "reconcile")
        self._timers.start()
        self._warmer.start()

    def stop(self) -> None:
        """Drain: finish what is open, release what is not, so that nothing counts as a crash."""
        log.info("Stopping")
        self._listener.stop(_DRAIN_ASSOCIATIONS_S)
        self._comparison.close()
        self._warmer.stop()
        self._timers.stop()
        self._engine.stop(drain_s=_DRAIN_JOBS_S)
        self.ledger.retire_node(self.node_id)  # before what still runs is cut off below
        self._inference.close()
        self._warmer.join()
        self.ledger.close()
        self._lock.close()
        log.info("Stopped")

    def _reconcile(self) -> None:
        self.ledger.close_associations(self.node_id, self._listener.is_open)
        reconcile(self.ledger, self._engine, self.node_id)

    def _on_stored(self) -> None:
        self._warmer.wake()
        # A moment later than needed, so that the sweep finds the quiet time over.
        delay_s = self.config.completeness.settle_s + 0.05
        self._timers.once_in(delay_s, self._settler.settle, "settle soon")


def _lock_state_dir(state_dir: Path) -> IO[str]:
    """Keep a second process away from the same state; the lock goes with the process."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"state_dir {state_dir} cannot be written ({error.strerror}); "
            "create it and give it to the user the node runs as"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(
            f"another ai-node is running on state_dir {state_dir}; stop it, or use another folder"
        ) from None
    return lock
