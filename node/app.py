"""Puts the parts together, starts, drains, stops. The only module that knows all of them."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import sqlalchemy as sa

from node.alarms.raising import EXAMINE_EVERY_S, AlarmWatch
from node.alarms.watched import Watched
from node.config import Config, advice
from node.current import Current, Loaded
from node.domains.table import is_in_scope
from node.errors import ConfigError, Superseded
from node.flow.ailments import Ailments, trouble_of_store
from node.flow.engine import Engine
from node.flow.forgetting import FORGET_EVERY_S
from node.flow.inventory import INVENTORY_EVERY_S, Inventory
from node.flow.labelling import LABEL_EVERY_S, label_former
from node.flow.retention import RETENTION_EVERY_S
from node.flow.settling_soon import SettlingSoon
from node.flow.telling import TELL_EVERY_S
from node.flow.timers import (
    BEATS,
    PROBE_EVERY_S,
    RECONCILE_EVERY_S,
    SETTLE_EVERY_S,
    Pulse,
    Timers,
    reconcile,
)
from node.http.side_servers import TRY_AGAIN_EVERY_S
from node.ledger import (
    Asking,
    Committing,
    Delivering,
    Filing,
    Hurrying,
    Ill,
    Job,
    KnownPackages,
    Ledger,
    Nodes,
    Outstanding,
    OwnPart,
    Receiving,
    Role,
    StudyLevels,
    Sweeping,
)
from node.manifest import Model
from node.monitoring.backend import ThisProcess
from node.overview.unnamed import waits_for_nobody
from node.receive.asking_back import ASK_BACK_EVERY_S, AskingBack
from node.receive.committing import COMMITMENT_EVERY_S, LINGERS_S, Committer
from node.receive.listener import Listener
from node.receive.peer_notes import TELL_OF_PEERS_EVERY_S
from node.receive.reception import Reception
from node.retention_words import advice_on_retention
from node.running.changes import changes_in_words
from node.running.kept_packages import LOOK_EVERY_S as PACKAGES_EVERY_S
from node.running.kept_packages import KeptPackages, package_digests, record_packages
from node.running.loading import load_another
from node.running.networks import Networks
from node.running.offers import Offers
from node.running.reloading import Reloading
from node.running.removing import forgetter_of, retention_of
from node.running.rooms import Lasting, Rooms, count_delivery, count_inference, rooms_for
from node.site import (
    advice_on_models,
    faults_of_models,
    load_models,
    open_own_ledger,
)
from node.start_words import start_words, unfinished_words
from node.state_dir import lock_state_dir, place_of
from node.store import Store
from node.study import Shown

log = logging.getLogger(__name__)


_DRAIN_ASSOCIATIONS_S = 10


_DRAIN_JOBS_S = 30

_MEND_EVERY_S = 10
_LOOK_SOON_S = 1.0
"""After an object has come: it may be the last that was waited for."""
_OVER_S = 0.05


class App:
    """A running node: all of it, or only the part that listens, or the part that works."""

    def __init__(self, config: Config, role: Role = Role.ALL) -> None:
        self._role = role
        self.node_id = str(uuid.uuid4())
        self.failed = threading.Event()
        """Set when a part has died: the process should stop and be started afresh."""
        self._current = Current(config, load_models(config))
        self._lock = lock_state_dir(config.node.state_dir)
        self.store = Store(config.store_dir, self.node_id)
        self.ledger = self._own_ledger()
        self._nodes = Nodes(self.ledger)
        self._pulse = Pulse(self._nodes, self.node_id, self.ledger.dead_after_s)
        self._engine = Engine(
            config.database_url,
            self.node_id,
            {"process": self._process, "deliver": self._deliver, "message": self._tell},
        )
        self._lasting = Lasting(
            self.ledger,
            self.store,
            KeptPackages(config.store_dir, self.node_id),
            self.node_id,
            self._engine.enqueue,
        )
        self._rooms = self._rooms_for(self._current.loaded)
        self._changing = threading.Lock()
        """Taken to put other rooms in the place of these, and to begin with work in them."""
        self._timers = Timers(self.failed.set)
        self._settling_soon = SettlingSoon(lambda uids: self._rooms.settler.settle(uids))
        self._receiving = Receiving(self.ledger)
        self.reception = Reception(
            *(self._current, self.store, self._receiving, self._is_in_scope),
            on_kept=self._on_kept,
            on_end=self._on_end,
        )
        self._asking_back = self._asks_back()
        self._committer = Committer(
            self._current,
            self.store,
            Committing(self.ledger),
            self._pulse.live_nodes,
            self._on_asked,
        )
        self._listener = Listener(
            self._current,
            self.store.incoming,
            Delivering(self.ledger, count_delivery),
            self.reception,
            self._committer,
        )
        self._offers = Offers(self._current, self.store, self._this_process())
        self._place = place_of(config.node.state_dir)
        self._alarms = AlarmWatch(self._watched())
        self._reloading = Reloading()
        self._ailments = self._examined()
        self._told: dict[OwnPart, Ill] = {}  # what the ledger has of them

    @property
    def config(self) -> Config:
        """What it works by now."""
        return self._current.config

    def _own_ledger(self) -> Ledger:
        try:
            return open_own_ledger(self.config, self.store)
        except BaseException:
            self._lock.close()
            raise

    def _rooms_for(self, loaded: Loaded) -> Rooms:
        """Return what is to work by a configuration, with other networks if it needs others."""
        settings, models = loaded.config.inference, loaded.models.values()
        former = getattr(self, "_rooms", None)
        if former is not None and former.networks.runs(settings, package_digests(models)):
            return rooms_for(loaded, former.networks, self._lasting)
        kept = tuple(self._lasting.packages.model_in_its_copy(model) for model in models)
        networks = Networks(settings, kept, count_inference, self._is_shown)
        return rooms_for(loaded, networks, self._lasting)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[Rooms]:
        """Lend the rooms of now, whose networks go on until the block ends."""
        with contextlib.ExitStack() as used:
            with self._changing:
                rooms = self._rooms
                used.enter_context(rooms.networks.in_use())
            yield rooms

    def _process(self, job: Job) -> None:
        with self._at_work() as rooms:
            rooms.workflow.process(job, self._engine)

    def _deliver(self, job: Job) -> None:
        self._rooms.workflow.deliver(job, self._engine)

    def _tell(self, job: Job) -> None:
        self._rooms.messenger.send(job, self._engine.enqueue)

    def _watched(self) -> Watched:
        config, models = self._current.config, self._current.models
        return Watched(self.ledger, config, models, self._place.rpartition(" ")[0])

    def _asks_back(self) -> AskingBack:
        current, asking = self._current, Asking(self.ledger)
        return AskingBack(
            *(current, self.store, asking, self.reception, self._is_in_scope),
            on_here=lambda study_uid: self._on_end([study_uid]),
        )

    def _this_process(self) -> ThisProcess:
        return ThisProcess(
            role=self._role,
            is_alive=lambda: self.is_alive,
            is_listening=lambda: self._listener.is_open,
            ill=lambda: self._ailments.found,
        )

    def _examined(self) -> Ailments:
        """Return what looks after each of our parts."""
        return Ailments(
            {
                OwnPart.LISTENER: lambda: "it has died" if self._listener.has_died else "",
                OwnPart.QUEUE: lambda: "it has died" if self._engine.has_died else "",
                OwnPart.INFERENCE: lambda: self._rooms.networks.trouble,
                OwnPart.SOME_INFERENCE: lambda: self._rooms.networks.lesser_trouble,
                OwnPart.DISK: self._trouble_of_store,
                OwnPart.SWEEPS: self._timers.trouble,
                OwnPart.ALARMS: lambda: self._alarms.trouble,
                OwnPart.TELLING: lambda: self._rooms.teller.trouble,
                OwnPart.CONFIGURATION: lambda: self._reloading.refused,
                **self._offers.troubles,
            }
        )

    def _trouble_of_store(self) -> str:
        least_free = self.config.node.least_free
        return trouble_of_store(self.store, least_free, self.config.retention.refuse_from_percent)

    def _is_shown(self, model: Model) -> bool:
        """Whether results of a model are delivered by now: nobody sees what others have scored."""
        used = (one for one in self.config.models if one.name == model.manifest.name)
        return any(one.mode == "deliver" for one in used)

    def _is_in_scope(self, shown: Shown) -> bool:
        """Whether some model is meant for such an object."""
        return any(is_in_scope(shown, model.manifest) for model in self._current.models.values())

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
        record_packages(KnownPackages(self.ledger), self._current.models)
        self._nodes.register_node(self.node_id, self._place, self._role)
        self._prepare_store()  # once others can see whose folder it is
        self._keep_packages(self._current.loaded)
        if not self.config.triage.demonstration_may_rank:
            StudyLevels(self.ledger).drop_demonstrations()  # before anybody is shown a list
        for server in self._offers.servers.values():
            server.start()  # or it is ill, and we go on: whom it shows matters more
        processes = 0 if self._role == Role.LISTENER else self.config.inference.processes
        if processes:
            self._rooms.networks.start()
        if self._role != Role.WORKER:
            self._listener.start()  # before the engine: if the port is taken, no job has begun
        self._engine.start(processes=processes)
        # Every node runs every sweep, whatever its role: they need only the database, and what
        # a machine began that is gone for good is then settled and enqueued by any other.
        self._reconcile()
        self._begin_rounds(processes)
        self._examine_parts()  # what is ill from the start is said at once
        self._settling_soon.start()
        self._alarms.post.start()
        if processes and self.config.inference.scores_early:
            self._rooms.early_scorer.start()
        if self._role == Role.WORKER:
            log.info("Working on the studies that other nodes receive")
        elif self._role == Role.LISTENER:
            log.info("Only receiving; other nodes work on the studies")

    def _begin_rounds(self, processes: int) -> None:
        """Begin what is done again and again."""
        beat_s = self.config.node.dead_after_s / BEATS
        self._timers.every(beat_s, self._beat, "beat")
        self._timers.every(beat_s, self._examine_parts, "parts")
        self._timers.every(SETTLE_EVERY_S, lambda: self._rooms.settler.settle(), "settle")
        self._timers.every(RECONCILE_EVERY_S, lambda: self._rooms.settler.see_to_held(), "held")
        self._timers.every(RECONCILE_EVERY_S, self._reconcile, "reconcile")
        self._timers.every(TELL_EVERY_S, lambda: self._rooms.teller.tell(), "tell")
        self._timers.every(PROBE_EVERY_S, self._probe, "destinations")
        self._timers.every(COMMITMENT_EVERY_S, self._committer.report, "commitment")
        self._timers.every(ASK_BACK_EVERY_S, self._asking_back.look, "ask back")
        inventory = Inventory(Filing(self.ledger), self.store)
        self._timers.every(INVENTORY_EVERY_S, inventory.look, "inventory")
        retention = retention_of(self._current, self.ledger, self.store, self._is_in_scope)
        self._timers.every(RETENTION_EVERY_S, retention.sweep, "retention")
        forgetter = forgetter_of(self._current, self.ledger, self._engine.forget)
        self._timers.every(FORGET_EVERY_S, forgetter.sweep, "forgetting")
        self._timers.every(LABEL_EVERY_S, self._label_former, "labels")
        self._timers.every(TELL_OF_PEERS_EVERY_S, self.reception.peers.write, "peers")
        self._timers.every(EXAMINE_EVERY_S, self._alarms.look, "alarms")
        self._timers.every(PACKAGES_EVERY_S, self._see_to_packages, "packages")
        for part, server in self._offers.servers.items():
            self._timers.every(TRY_AGAIN_EVERY_S, server.mend, part)
        if processes:
            self._timers.every(_MEND_EVERY_S, lambda: self._rooms.networks.mend(), "inference")
        self._timers.start()

    def _tell_how_it_is_set(self) -> None:
        for line in start_words(self.config, self._role, self._current.models):
            log.info("%s", line)
        _say_amiss(self._amiss(self._current.loaded))
        log.info("%s", unfinished_words(Outstanding(self.ledger).unfinished()))

    def _amiss(self, loaded: Loaded) -> list[tuple[int, str]]:
        """Return what is not as it should be with a configuration that is worked by all the same.

        With the level of each line.
        """
        config, models = loaded.config, loaded.models
        faults = (fault for _, fault in faults_of_models(config, models))
        notes = (
            *advice(config),
            *advice_on_models(config, models),
            *advice_on_retention(config),
            *waits_for_nobody(self.ledger, config),
        )
        errors = [(logging.ERROR, fault) for fault in faults]
        return errors + [(logging.WARNING, note) for note in notes]

    def _keep_packages(self, loaded: Loaded) -> None:
        for model in loaded.models.values():
            self._lasting.packages.keep(model)

    def _see_to_packages(self) -> None:
        packages = self._lasting.packages
        used = package_digests(self._current.models.values())
        packages.say_used(used)
        packages.remove_unused(KnownPackages(self.ledger).needed() | used)

    def reload(self, path: Path) -> bool:
        """Work by what a configuration file says now, if it is right; else as before, and say so.

        What has begun ends as it began. Never raises; returns whether it is taken over.
        """
        is_taken = self._reloading.reload(path, lambda: self._take_over(path))
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # the next heartbeat says it, then
            self._examine_parts()
        return is_taken

    def _take_over(self, path: Path) -> list[str]:
        """Work by what a file says now; return what differs. Raises what speaks against it."""
        former = self._current.loaded
        loaded = load_another(path, former, self.ledger)
        changes = changes_in_words(former, loaded)
        amiss = self._amiss(loaded)
        self._keep_packages(loaded)
        rooms = self._rooms_for(loaded)
        if rooms.networks is not self._rooms.networks and self._role != Role.LISTENER:
            self._reloading.start(rooms.networks)  # before the old ones end: they may not start
        try:
            record_packages(KnownPackages(self.ledger), loaded.models)
        except BaseException:
            if rooms.networks is not self._rooms.networks:
                rooms.networks.close()
            raise
        self._become(rooms)
        _say_amiss(amiss)
        return changes

    def _become(self, rooms: Rooms) -> None:
        """Work by other rooms; never raises, for from here on they are what is worked by."""
        with self._changing:
            former, self._rooms = self._rooms, rooms
            self._current.become(rooms.loaded)
        steps: tuple[Callable[[], None], ...] = (
            lambda: self._score_early_in(rooms, former),
            lambda: self._offers.offer_again(former.config),
            lambda: self._alarms.watch(self._watched()),
        )
        for step in steps:
            try:
                step()
            except Exception:  # a defect of ours: the others are done all the same
                log.exception("Not everything works by the new configuration yet")
        if former.networks is not rooms.networks:
            former.networks.retire()

    def _score_early_in(self, rooms: Rooms, former: Rooms) -> None:
        if former.early_scorer.is_at_work:
            former.early_scorer.stop()
            former.early_scorer.join()
        if self._role != Role.LISTENER and rooms.config.inference.scores_early:
            rooms.early_scorer.start()

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
        self._reloading.stop()
        self._listener.stop(_DRAIN_ASSOCIATIONS_S)
        self._asking_back.stop()
        self.reception.close()
        self._rooms.early_scorer.stop()
        self._settling_soon.stop()
        self._timers.stop()
        self._alarms.post.stop()
        self._engine.stop(drain_s=_DRAIN_JOBS_S)
        for server in self._offers.servers.values():
            server.stop()  # until here people saw how the work ended
        self._retire()  # before what still runs is cut off below
        self._rooms.networks.close()
        self._rooms.early_scorer.join()
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
        self.store.prepare_anew()  # taken for dead while we were frozen, we have lost our folder

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

    def _on_kept(self, study_uid: str) -> None:
        self._rooms.early_scorer.wake()
        # A moment later than needed, so that it finds the quiet time over.
        self._settling_soon.look([study_uid], self.config.completeness.settle_s + _OVER_S)
        self._timers.once_in(_LOOK_SOON_S, self._asking_back.look, "ask back soon")

    def _on_end(self, study_uids: Collection[str]) -> None:
        ended_s = self.config.completeness.ended_s
        self._settling_soon.look(study_uids, ended_s and ended_s + _OVER_S)

    def _on_asked(self) -> None:
        self._timers.once_in(LINGERS_S + 0.05, self._committer.report, "commitment soon")


def _say_amiss(lines: Iterable[tuple[int, str]]) -> None:
    for level, line in lines:
        log.log(level, "%s", line)
