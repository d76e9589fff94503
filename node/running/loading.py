"""A configuration file and its model packages, read and checked whole, or refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node.config import Config, load_config
from node.current import Loaded
from node.errors import ConfigError
from node.ledger import KnownPackages, Ledger
from node.manifest import Model
from node.running.changes import needs_restart
from node.running.kept_packages import refuse_changed_packages
from node.running.tls_files import faults_of_tls_files
from node.site import faults_of_models, load_models, local_zone
from node.web.exposure import faults_of_page
from node.web.serving import has_users_yet


def load_another(path: Path, former: Loaded, ledger: Ledger) -> Loaded:
    """Read what a running node is to work by from now on.

    Raises ConfigError, with everything that speaks against it: what a start would fail of, what
    only a restart can change, and what is wrong with it that was not with the former one.
    """
    config = load_config(path)
    if keys := needs_restart(former.config, config):
        raise ConfigError(
            f"{path}: {', '.join(keys)}: cannot be changed while the node runs; start it again "
            "(systemctl restart ai-node), or put back what was"
        )
    loaded = Loaded(config, load_models(config))
    local_zone(config)
    refuse_changed_packages(KnownPackages(ledger), loaded.models)
    before = frozenset(faults_of(former.config, former.models))
    if faults := [
        f"{path}: {one}" for one in faults_of(config, loaded.models) if one not in before
    ]:
        raise ConfigError("\n".join(faults))
    return loaded


def load_page_alone(path: Path, former: Config) -> Config:
    """Read what a process that only shows the page is to work by; raises as `load_another`."""
    config = load_config(path)
    keys = needs_restart(former, config)
    if config.web is None:
        raise ConfigError(f"{path}: the table [web] is gone, which says where the page is")
    if keys := [key for key in keys if not key.startswith(("[listener]", "[inference]"))]:
        raise ConfigError(
            f"{path}: {', '.join(keys)}: cannot be changed while the page is shown; start it again"
        )
    return config


def faults_of(config: Config, models: Mapping[str, Model]) -> list[str]:
    """Return what is wrong with what a node would start with all the same."""
    return [
        *faults_of_its_page(config),
        *(words for _, words in faults_of_models(config, models)),
        *faults_of_tls_files(config),
    ]


def faults_of_its_page(config: Config) -> list[str]:
    """Return why the page must not start, if there is to be one."""
    if config.web is None:
        return []
    return faults_of_page(config.web, has_users=has_users_yet(config))
