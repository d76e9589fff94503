"""What works by one configuration, made of it and of what lasts as long as the process.

Nothing here is ever changed: a reload makes other rooms, and a job that has begun ends in those it
began in, with their configuration, models and destinations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from node import metrics
from node.analysis.pipeline import Pipeline
from node.config import Config
from node.current import Loaded
from node.deliver.choice import destination_of, receiver_named
from node.flow.completeness import Settler
from node.flow.early_scoring import EarlyScorer
from node.flow.messenger import Messenger
from node.flow.telling import Teller
from node.flow.workflow import Workflow
from node.kinds import with_substitutes
from node.ledger import (
    Claiming,
    Delivering,
    DeliveryEnd,
    Enqueue,
    Hurrying,
    KeptScores,
    Ledger,
    Messages,
    Mode,
    Processing,
    Settling,
    Telling,
)
from node.manifest import Model
from node.running.kept_packages import KeptPackages, former_model
from node.running.networks import Networks
from node.site import local_zone
from node.store import Store


@dataclass(frozen=True, slots=True)
class Lasting:
    """What of a node lasts, whatever configuration it works by."""

    ledger: Ledger
    store: Store
    packages: KeptPackages
    node_id: str
    enqueue: Enqueue


@dataclass(frozen=True, slots=True)
class Rooms:
    """What works by one configuration."""

    loaded: Loaded
    networks: Networks
    workflow: Workflow
    messenger: Messenger
    teller: Teller
    settler: Settler
    early_scorer: EarlyScorer

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.loaded.config


def rooms_for(loaded: Loaded, networks: Networks, lasting: Lasting) -> Rooms:
    """Make what works by a configuration, of networks that run its models."""
    config, ledger = loaded.config, lasting.ledger
    pipeline = _pipeline(config, networks, ledger)
    settler = _settler(loaded, lasting)
    return Rooms(
        loaded=loaded,
        networks=networks,
        workflow=_workflow(loaded, networks, pipeline, lasting),
        messenger=Messenger(
            Messages(ledger, count_delivery),
            config.delivery,
            lasting.node_id,
            partial(receiver_named, config),
            Hurrying(ledger),
        ),
        teller=Teller(Telling(ledger), config, lasting.store, local_zone(config), lasting.enqueue),
        settler=settler,
        early_scorer=EarlyScorer(
            Claiming(ledger),
            lasting.store,
            pipeline,
            tuple(loaded.models.values()),
            settler.ranking,
        ),
    )


def _pipeline(config: Config, networks: Networks, ledger: Ledger) -> Pipeline:
    return Pipeline(
        inference=networks,
        scores=KeptScores(ledger),
        local_zone=local_zone(config),
        outputs=with_substitutes(config.kinds),
        provider=config.inference.provider,
        demonstration_may_rank=config.triage.demonstration_may_rank,
        has_level_in_lists=config.has_level_in_lists,
    )


def _workflow(loaded: Loaded, networks: Networks, pipeline: Pipeline, lasting: Lasting) -> Workflow:
    running: Mapping[str, Model] = {model.package_digest: model for model in networks.models}
    return Workflow(
        config=loaded.config,
        processing=Processing(lasting.ledger),
        delivering=Delivering(lasting.ledger, count_delivery),
        hurrying=Hurrying(lasting.ledger),
        store=lasting.store,
        pipeline=pipeline,
        models=loaded.models,
        node_id=lasting.node_id,
        destination_of=partial(destination_of, loaded.config),
        former=partial(former_model, lasting.packages, running),
    )


def _settler(loaded: Loaded, lasting: Lasting) -> Settler:
    config, models = loaded.config, loaded.models
    return Settler(
        Settling(lasting.ledger),
        lasting.enqueue,
        config.completeness,
        [(models[one.name], Mode(one.mode)) for one in config.models if one.name in models],
        demonstration_may_rank=config.triage.demonstration_may_rank,
        priority_of=config.priority_of,
        directions=config.directions,
    )


def count_inference(model: Model, took_s: float) -> None:
    """Count what a model took for one unit."""
    metrics.observe_inference(model.identity.name, model.identity.version, took_s)


def count_delivery(end: DeliveryEnd) -> None:
    """Count how an attempt to deliver has ended."""
    outcome = metrics.DeliveryOutcome(end.ended)
    metrics.count_attempt(end.destination, outcome, end.after_s)
