"""Puts the parts together, starts, drains, stops. The only module that knows all of them."""

from __future__ import annotations

import logging
import threading
import uuid
from functools import partial

import sqlalchemy as sa

from node import metrics
from node.alarms.raising import EXAMINE_EVERY_S, AlarmWatch
from node.alarms.watched import Watched
from node.analysis.pipeline import Pipeline
from node.config import Config, advice
from node.deliver.choice import destination_of, receiver_named
from node.domains.table import is_in_scope
from node.errors import ConfigError, Superseded
from node.flow.ailments import Ailments, trouble_of_store
from node.flow.completeness import Settler
from node.flow.early_scoring import EarlyScorer
from node.flow.engine import Engine
from node.flow.forgetting import FORGET_EVERY_S, Forgetter
from node.flow.inventory import INVENTORY_EVERY_S, Inventory
from node.flow.labelling import LABEL_EVERY_S, label_former
from node.flow.messenger import Messenger
from node.flow.retention import RETENTION_EVERY_S, Retention
from node.flow.telling import TELL_EVERY_S, Teller
from node.flow.timers import (
    BEATS,
    PROBE_EVERY_S,
    RECONCILE_EVERY_S,
    SETTLE_EVERY_S,
    Pulse,
    Timers,
    reconcile,
)
from node.flow.unlinking import Unlinker
from node.flow.workflow import Workflow
from node.http.side_servers import TRY_AGAIN_EVERY_S, SideServer
from node.inference import Inference
from node.kinds import with_substitutes
from node.ledger import (
    Asking,
    Claiming,
    Committing,
    Delivering,
    DeliveryEnd,
    Filing,
    Forgetting,
    Hurrying,
    Ill,
    KeptScores,
    Ledger,
    Messages,
    Mode,
    Nodes,
    Outstanding,
    OwnPart,
    Processing,
    Receiving,
    Retaining,
    Role,
    Settling,
    StudyLevels,
    Sweeping,
    Telling,
    Unlinking,
)
from node.manifest import Model
from node.monitoring.backend import ThisProcess
from node.monitoring.serving import Monitoring
from node.receive.asking_back import ASK_BACK_EVERY_S, AskingBack
from node.receive.committing import COMMITMENT_EVERY_S, LINGERS_S, Committer
from node.receive.header_changes import header_digest
from node.receive.listener import Listener
from node.receive.peer_notes import TELL_OF_PEERS_EVERY_S
from node.receive.reception import Reception
from node.retention_words import advice_on_retention
from node.site import (
    advice_on_models,
    faults_of_models,
    load_models,
    local_zone,
    open_own_ledger,
)
from node.start_words import start_words, unfinished_words
from node.state_dir import lock_state_dir, place_of
from node.store import Store
from node.study import Shown
from node.web.serving import Page

log = logging.getLogger(__name__)


_DRAIN_ASSOCIATIONS_S = 10


_DRAIN_JOBS_S = 30

_MEND_EVERY_S = 10
_LOOK_SOON_S = 1.0
"""After an object has come: it may be the last that was waited for."""


class App:
    """A running node: all of it, or only the part that listens, or the part that works."""

    def __init__(self, config: Config, role: Role = Role.ALL) -> None:
        self.config = config
        self._role = role
        self.node_id = str(uuid.uuid4())
        self.failed = threading.Event()
        """Set when a part has died: the process should stop and be started afresh."""
        self._models = load_models(config)
        self._lock = lock_state_dir(config.node.state_dir)
        self.store = Store(config.store_dir, self.node_id)
        self.ledger = self._own_ledger()
        self._nodes = Nodes(self.ledger)
        self._pulse = Pulse(self._nodes, self.node_id, self.ledger.dead_after_s)
        self._inference = Inference(config.inference, tuple(self._models.values()), _observe)
        pipeline = self._pipeline()
        delivering = Delivering(self.ledger, _count)
        workflow = Workflow(
            config=config,
            processing=Processing(self.ledger),
            delivering=delivering,
            hurrying=Hurrying(self.ledger),
            store=self.store,
            pipeline=pipeline,
            models=self._models,
            node_id=self.node_id,
            destination_of=partial(destination_of, config),
        )
        self._engine = Engine(
            config.database_url,
            self.node_id,
            {
                "process": lambda job: workflow.process(job, self._engine),
                "deliver": lambda job: workflow.deliver(job, self._engine),
                "message": lambda job: self._messenger().send(job, self._engine.enqueue),
            },
        )
        self._teller = self._tells()
        self._settler = Settler(
            Settling(self.ledger),
            self._engine.enqueue,
            config.completeness,
            [
                (self._models[model.name], Mode(model.mode))
                for model in config.models
                if model.name in self._models
            ],
            demonstration_may_rank=config.triage.demonstration_may_rank,
            priority_of=config.priority_of,
        )
        self._early_scorer = EarlyScorer(
            Claiming(self.ledger),
            self.store,
            pipeline,
            tuple(self._models.values()),
            self._settler.ranking,
        )
        self._timers = Timers(self.failed.set)
        self._receiving = Receiving(self.ledger)
        self.reception = Reception(
            config, self.store, self._receiving, self._is_in_scope, self._on_kept
        )
        self._asking_back = self._asks_back()
        self._committer = Committer(
            config, self.store, Committing(self.ledger), self._pulse.live_nodes, self._on_asked
        )
        self._listener = Listener(
            config, self.store.incoming, delivering, self.reception, self._committer
        )
        self._servers = self._offered()
        self._place = place_of(config.node.state_dir)
        self._alarms = AlarmWatch(
            Watched(self.ledger, config, self._models, self._place.rpartition(" ")[0])
        )
        self._ailments = self._examined()
        self._told: dict[OwnPart, Ill] = {}  # what the ledger has of them

    def _own_ledger(self) -> Ledger:
        try:
            return open_own_ledger(self.config, self.store)
        except BaseException:
            self._lock.close()
            raise

    def _pipeline(self) -> Pipeline:
        config = self.config
        return Pipeline(
            inference=self._inference,
            scores=KeptScores(self.ledger),
            local_zone=local_zone(config),
            outputs=with_substitutes(config.kinds),
            provider=config.inference.provider,
            demonstration_may_rank=config.triage.demonstration_may_rank,
            has_level_in_lists=config.has_level_in_lists,
        )

    def _messenger(self) -> Messenger:
        config, messages = self.config, Messages(self.ledger, _count)
        receiver_of = partial(receiver_named, config)
        hurrying = Hurrying(self.ledger)
        return Messenger(messages, config.delivery, self.node_id, receiver_of, hurrying)

    def _tells(self) -> Teller:
        config, telling = self.config, Telling(self.ledger)
        return Teller(telling, config, self.store, local_zone(config), self._engine.enqueue)

    def _retains(self) -> Retention:
        unlinker = Unlinker(Unlinking(self.ledger), self.store)
        return Retention(
            Retaining(self.ledger),
            unlinker,
            self.store,
            lambda: self.config.retention,
            self._is_in_scope,
            header_digest,
        )

    def _forgets(self) -> Forgetter:
        forgetting = Forgetting(self.ledger)
        return Forgetter(forgetting, lambda: self.config.retention, self._engine.forget)

    def _asks_back(self) -> AskingBack:
        config, asking = self.config, Asking(self.ledger)
        is_in_scope, soon = self._is_in_scope, self._settle_soon
        return AskingBack(config, self.store, asking, self.reception, is_in_scope, soon)

    def _this_process(self) -> ThisProcess:
        return ThisProcess(
            role=self._role,
            is_alive=lambda: self.is_alive,
            is_listening=lambda: self._listener.is_open,
            ill=lambda: self._ailments.found,
        )

    def _offered(self) -> dict[OwnPart, SideServer]:
        """Return what answers by HTTP, as far as the configuration wants it."""
        config, found = self.config, {}
        if (web := config.web) is not None:
            found[OwnPart.PAGE] = SideServer(Page(config, web, self.store))
        if (settings := config.monitoring) is not None:
            monitoring = Monitoring(config, settings, self._models, self._this_process())
            found[OwnPart.MONITORING] = SideServer(monitoring)
        return found

    def _examined(self) -> Ailments:
        """Return what looks after each of our parts."""
        least_free, timers = self.config.node.min_free_mb << 20, self._timers
        refuse_from = self.config.retention.refuse_from_percent
        return Ailments(
            {
                OwnPart.LISTENER: lambda: "it has died" if self._listener.has_died else "",
                OwnPart.QUEUE: lambda: "it has died" if self._engine.has_died else "",
                OwnPart.INFERENCE: lambda: self._inference.trouble,
                OwnPart.SOME_INFERENCE: lambda: self._inference.lesser_trouble,
                OwnPart.DISK: lambda: trouble_of_store(self.store, least_free, refuse_from),
                OwnPart.SWEEPS: timers.trouble,
                OwnPart.ALARMS: lambda: self._alarms.trouble,
                OwnPart.TELLING: lambda: self._teller.trouble,
                **{part: partial(_trouble_of, server) for part, server in self._servers.items()},
            }
        )

    def _is_in_scope(self, shown: Shown) -> bool:
        """Whether some model is meant for such an object."""
        return any(is_in_scope(shown, model.manifest) for model in self._models.values())

    @property
    def port(self) -> int:
        """The port the listener really uses."""
        return self._listener.port

    @property
    def is_alive(self) -> bool:
        """Whether our regular work still comes round and no part has died.

        For who starts us afresh if not.
        """
        return self._timers.are_turning() and not self._dead_parts()

    def start(self) -> None:
        """Begin to listen and to work, first at what a former process left."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._tell_how_it_is_set()
        self._nodes.register_node(self.node_id, self._place, self._role)
        self._prepare_store()  # once others can see whose folder it is
        if not self.config.triage.demonstration_may_rank:
            StudyLevels(self.ledger).drop_demonstrations()  # before anybody is shown a list
        for server in self._servers.values():
            server.start()  # or it is ill, and we go on: whom it shows matters more
        processes = 0 if self._role == Role.LISTENER else self.config.inference.processes
        if processes:
            self._inference.start()
        if self._role != Role.WORKER:
            self._listener.start()  # before the engine: if the port is taken, no job has begun
        self._engine.start(processes=processes)
        # Every node runs every sweep, whatever its role: they need only the database, and what
        # a machine began that is gone for good is then settled and enqueued by any other.
        self._reconcile()
        self._begin_rounds(processes)
        self._examine_parts()  # what is ill from the start is said at once
        self._alarms.post.start()
        if processes and self.config.inference.scores_early:
            self._early_scorer.start()
        if self._role == Role.WORKER:
            log.info("Working on the studies that other nodes receive")
        elif self._role == Role.LISTENER:
            log.info("Only receiving; other nodes work on the studies")

    def _begin_rounds(self, processes: int) -> None:
        """Begin what is done again and again."""
        beat_s = self.config.node.dead_after_s / BEATS
        self._timers.every(beat_s, self._beat, "beat")
        self._timers.every(beat_s, self._examine_parts, "parts")
        self._timers.every(SETTLE_EVERY_S, self._settler.settle, "settle")
        self._timers.every(RECONCILE_EVERY_S, self._settler.see_to_held, "held")
        self._timers.every(RECONCILE_EVERY_S, self._reconcile, "reconcile")
        self._timers.every(TELL_EVERY_S, self._teller.tell, "tell")
        self._timers.every(PROBE_EVERY_S, self._probe, "destinations")
        self._timers.every(COMMITMENT_EVERY_S, self._committer.report, "commitment")
        self._timers.every(ASK_BACK_EVERY_S, self._asking_back.look, "ask back")
        inventory = Inventory(Filing(self.ledger), self.store)
        self._timers.every(INVENTORY_EVERY_S, inventory.look, "inventory")
        self._timers.every(RETENTION_EVERY_S, self._retains().sweep, "retention")
        self._timers.every(FORGET_EVERY_S, self._forgets().sweep, "forgetting")
        self._timers.every(LABEL_EVERY_S, self._label_former, "labels")
        self._timers.every(TELL_OF_PEERS_EVERY_S, self.reception.peers.write, "peers")
        self._timers.every(EXAMINE_EVERY_S, self._alarms.look, "alarms")
        for part, server in self._servers.items():
            self._timers.every(TRY_AGAIN_EVERY_S, server.mend, part)
        if processes:
            self._timers.every(_MEND_EVERY_S, self._inference.mend, "inference")
        self._timers.start()

    def _tell_how_it_is_set(self) -> None:
        for line in start_words(self.config, self._role, self._models):
            log.info("%s", line)
        for _, fault in faults_of_models(self.config, self._models):
            log.error("%s", fault)
        for line in [*advice(self.config), *advice_on_models(self.config, self._models)]:
            log.warning("%s", line)
        for line in advice_on_retention(self.config):
            log.warning("%s", line)
        log.info("%s", unfinished_words(Outstanding(self.ledger).unfinished()))

    def _prepare_store(self) -> None:
        try:
            self.store.prepare()
            self.store.sort_former()
        except OSError as error:
            raise ConfigError(
                f"[node] store_dir {self.config.store_dir}: cannot be written "
                f"({error.strerror}); `ai-node doctor` says more"
            ) from error

    def stop(self) -> None:
        """Drain: finish what is open, release what is not, so that nothing counts as a crash."""
        log.info("Stopping")
        self._listener.stop(_DRAIN_ASSOCIATIONS_S)
        self._asking_back.stop()
        self.reception.close()
        self._early_scorer.stop()
        self._timers.stop()
        self._alarms.post.stop()
        self._engine.stop(drain_s=_DRAIN_JOBS_S)
        for server in self._servers.values():
            server.stop()  # until here people saw how the work ended
        self._retire()  # before what still runs is cut off below
        self._inference.close()
        self._early_scorer.join()
        self.ledger.close()
        self._lock.close()
        log.info("Stopped")

    def _retire(self) -> None:
        """Leave: each step by itself, for what one cannot do the next may."""
        try:
            self.reception.peers.write()
        except sa.exc.SQLAlchemyError:
            log.warning("When peers were last seen cannot be written down")
        try:
            self._nodes.retire_node(self.node_id)
            self.store.remove_leftovers([self.node_id])
        except sa.exc.SQLAlchemyError:
            log.warning("The database does not answer; our work is taken over as if we had died")

    def _beat(self) -> None:
        try:
            self._pulse.beat()
        except Superseded as reason:
            log.critical("Stopping: %s", reason)
            self.failed.set()
        dead = self._dead_parts()
        if dead:
            self._examine_parts()  # before we end, so that others know why
        for part in dead:
            log.critical("The %s has died", part)
            self.failed.set()
        self.store.prepare()  # taken for dead while we were frozen, we have lost our folder

    def _examine_parts(self) -> None:
        found = self._ailments.look()
        if found != self._told:
            self._nodes.record_ill(self.node_id, found)
            self._told = found

    def _dead_parts(self) -> list[str]:
        parts = {
            "listener": self._listener.has_died,
            "queue": self._engine.has_died,
        }
        return [name for name, has_died in parts.items() if has_died]

    def _reconcile(self) -> None:
        self._receiving.close_associations(self.node_id, self.reception.is_open)
        others = self.store.others()
        reconcile(Sweeping(self.ledger), self._engine, self._pulse.live_nodes)
        dead = self._nodes.registered(others) - self._pulse.live_nodes()
        self.store.remove_leftovers(dead)

    def _probe(self) -> None:
        for name in Hurrying(self.ledger).probe(self._engine.enqueue):
            log.debug("Looking whether %s is there again", name)

    def _label_former(self) -> None:
        label_former(Filing(self.ledger), self.store)

    def _on_kept(self) -> None:
        self._early_scorer.wake()
        self._settle_soon()
        self._timers.once_in(_LOOK_SOON_S, self._asking_back.look, "ask back soon")

    def _settle_soon(self) -> None:
        # A moment later than needed, so that the sweep finds the quiet time over.
        delay_s = self.config.completeness.settle_s + 0.05
        self._timers.once_in(delay_s, self._settler.settle, "settle soon")

    def _on_asked(self) -> None:
        self._timers.once_in(LINGERS_S + 0.05, self._committer.report, "commitment soon")


def _trouble_of(server: SideServer) -> str:
    return server.trouble


def _observe(model: Model, took_s: float) -> None:
    metrics.observe_inference(model.identity.name, model.identity.version, took_s)


def _count(end: DeliveryEnd) -> None:
    outcome = metrics.DeliveryOutcome(end.ended)
    metrics.count_attempt(end.destination, outcome, end.after_s)
