"""A node from start to end.

Law: what cannot work is found out before anything is promised: the data directory, then the ports. Clients are let in
once the catalog is founded and this copy of it is up to date. On SIGTERM and SIGINT leaders are handed over,
clients are told to go (320), what they had sent is finished within the drain timeout, and the node ends. A node that
does not serve yet, because it waits for a quorum, ends at once.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import Any

import trio

from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog import commands as c
from cluster.broker.catalog.outcome import Change
from cluster.broker.errors import BrokerError
from cluster.node import bootstrap
from cluster.node.admin.definitions.document import DefinitionsError, read_file
from cluster.node.admin.definitions.start import load_at_start
from cluster.node.admin.foyer import Foyer
from cluster.node.admin.server import serve_admin
from cluster.node.alarms import ResourceWatch
from cluster.node.amqp.ack_timeout import watch_acks
from cluster.node.amqp.broker import Broker, BrokerLimits
from cluster.node.amqp.eviction import evict
from cluster.node.amqp.password_hash import hash_password
from cluster.node.balance import balance
from cluster.node.catalog.client import NoQuorum
from cluster.node.config import NodeConfig
from cluster.node.config.model import SHARDS_MAX
from cluster.node.core import Core
from cluster.node.departed import watch_departed
from cluster.node.heap import Heap, keep_small
from cluster.node.kinds import Kind
from cluster.node.lag import Lag
from cluster.node.links import LinkLimits, Links, PeerAddress, open_listener
from cluster.node.logging import get_logger
from cluster.node.members import founders
from cluster.node.membership.announcement import announce
from cluster.node.membership.follower import Follower
from cluster.node.membership.gate import Gate
from cluster.node.membership.porter import Porter
from cluster.node.membership.roster import addressed, read_roster, write_roster
from cluster.node.membership.steward import steward
from cluster.node.opening import drop_former, forget_former, has_lost_data, note_damage, open_store
from cluster.node.reports import Reports
from cluster.node.scrub import scrub
from cluster.node.service import SHUTDOWN, Service, open_doors
from cluster.node.tls import Certificates
from cluster.raft.types import NOBODY, NodeId
from cluster.store.identity import Identity, begin_incarnation
from cluster.store.lmdb_store import GROUPS_MAX, LmdbStore

VERSION = "0.1.0"
_SWITCH_SECONDS = 0.0005
"""How long the loop may keep the interpreter from the writing thread, which wants it for microseconds before and after
each fsync. With the default 5 ms a busy loop makes a 3 ms write take 40."""
_ADMIN_WAITS_SECONDS = 1.0
_GC_THRESHOLDS = (50_000, 20, 50)
"""Objects of the message path die by reference counts; the collector's walks only cost latency."""


async def run_node(config: NodeConfig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until SIGTERM or SIGINT. `started` when clients are served.

    Raises OSError (a port, a directory), StorageError (the data cannot be used).
    """
    log = get_logger("node")
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(*_GC_THRESHOLDS)
    heap = Heap()
    limits = config.limits
    definitions = _definitions(config)
    certificates = Certificates(config.tls) if config.tls.cert else None
    link_certificates = certificates if config.peer.tls else None
    if config.cluster.rejoin:
        drop_former(config.data_dir)
    store = open_store(
        config.data_dir,
        map_size_max=limits.store_size_max or None,
        groups_max=max(GROUPS_MAX, SHARDS_MAX + 1),
    )
    may_found = config.cluster.may_found and not has_lost_data(config.data_dir)
    try:
        peer_listener = open_listener(config.peer.host, config.peer.port)
        doors = open_doors(config, certificates)
        http_probe = open_listener(config.http.host, config.http.port)
        http_probe.close()
        identity = begin_incarnation(store, cluster_id=None, node_name=config.node.name)
        token = bootstrap.directory_token(store)
        gate = Gate(token, bootstrap.configured_names(config) if may_found else ())
        if identity is not None:
            gate.charter = _charter_of(config, store, identity)
        links = Links(
            cluster_id=identity.cluster_id if identity else "",
            node=identity.member_id if identity else NOBODY,
            name=config.node.name,
            incarnation=identity.incarnation if identity else 1,
            secret=config.secret_bytes,
            peers=[],
            handler=gate,
            limits=LinkLimits(outbox_bytes_max=limits.link_outbox_max),
            certificates=link_certificates,
            both_ways=certificates if config.peer.tls_optional else None,
        )
        stop, served = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_on_signal, stop, served, nursery)
            await nursery.start(links.run, [peer_listener])
            foyer = Foyer(config, VERSION)
            nursery.start_soon(serve_admin_late, foyer, config, certificates)
            if identity is None:
                identity = await _find_cluster(config, store, gate, token, link_certificates, may_found=may_found)
            links.adopt_identity(cluster_id=identity.cluster_id, node=identity.member_id)
            assert gate.charter is not None
            core = Core(
                config=config,
                charter=gate.charter,
                node=identity.member_id,
                incarnation=identity.incarnation,
                storage=store,
                links=links,
            )
            gate.core = core
            for address in _addresses(config, gate.charter):
                links.add_peer(address)
            broker = _broker(config, core, nursery)
            watch = ResourceWatch(config, broker, core, store)
            service = Service(config, core, broker, certificates, doors)
            reports = Reports(config, core, broker, store, service, certificates, VERSION)
            core.turns.on_round = broker.flush
            core.on_direct_reply = broker.replies.receive
            porter, follower = Porter(core), Follower(core, config)
            core.requests.update({**reports.requests(), **porter.requests(), **follower.requests()})
            core.requests[Kind.CENSUS] = broker.census.give
            gate.on_petition = porter.petition
            gate.on_refused = service.dismiss
            links.has_left = core.members.has_left

            def catalog_changed(changes: list[Change]) -> None:
                # Exchanges and bindings leave no Change: `changes` does not tell whether routes still hold.
                broker.catalog_changed()
                broker.flows.catalog_changed(changes, core.leads)
                evict(broker, changes)

            core.on_catalog = catalog_changed
            await nursery.start(core.run)
            nursery.start_soon(Lag(core).watch)
            foyer.enter(reports)
            nursery.start_soon(follower.run)
            nursery.start_soon(steward, core)
            if certificates is not None:
                nursery.start_soon(certificates.watch)
            async with trio.open_nursery() as meanwhile:
                others = _addresses(config, gate.charter)
                meanwhile.start_soon(announce, config, core, others, link_certificates)
                await _join(config, core)
                meanwhile.cancel_scope.cancel()
            await trio.to_thread.run_sync(forget_former, config.data_dir)
            if definitions is not None:
                await load_at_start(config.definitions.load, definitions, reports.catalog, reports.operations)
            gc.collect()
            gc.freeze()
            nursery.start_soon(watch.run)
            await nursery.start(service.run)
            nursery.start_soon(balance, core)
            nursery.start_soon(watch_acks, broker, config.limits.consumer_timeout_seconds)
            nursery.start_soon(watch_departed, core, broker)
            nursery.start_soon(scrub, core, store)
            nursery.start_soon(keep_small, heap)
            log.info("serving", amqp_port=config.amqp.port, http_port=config.http.port, node=int(core.node))
            served.set()
            task_status.started()
            await stop.wait()
            with trio.move_on_after(config.node.drain_timeout_seconds):
                await service.leave(SHUTDOWN)
            nursery.cancel_scope.cancel()
        if not served.is_set():
            # Told to stop while it started.
            task_status.started()
    except BaseException as error:
        note_damage(config.data_dir, error)
        raise
    finally:
        store.close()


def _definitions(config: NodeConfig) -> Any:
    """The document to load, None for none. Raises OSError."""
    if not config.definitions.load:
        return None
    try:
        return read_file(Path(config.definitions.load))
    except DefinitionsError as error:
        raise OSError(str(error)) from None


async def serve_admin_late(foyer: Foyer, config: NodeConfig, certificates: Certificates | None) -> None:
    """The admin listener, as soon as the node is at work or waits noticeably: what it imports would delay the rest."""
    with trio.move_on_after(_ADMIN_WAITS_SECONDS):
        await foyer.entered.wait()
    https = certificates.https if certificates is not None and config.http.tls else None
    await serve_admin(foyer.source(), host=config.http.host, port=config.http.port, https=https)


def _charter_of(config: NodeConfig, store: LmdbStore, identity: Identity) -> bootstrap.Charter:
    """As it was written down; of an older directory, the identity's members where the configuration says they are."""
    known = bootstrap.read_charter(store)
    if known is not None:
        return known
    by_name = {member.name: member for member in config.members}
    missing = [name for _, name in identity.members if name not in by_name]
    if missing:
        raise OSError(f"cluster.peers does not name {', '.join(missing)}, a member according to the data directory")
    members = tuple([by_name[name] for _, name in identity.members])
    return bootstrap.Charter(identity.cluster_id, members, config.cluster.shards)


def _addresses(config: NodeConfig, charter: bootstrap.Charter) -> list[PeerAddress]:
    """Where the other members were when this node last heard of them, or when the cluster was founded."""
    found = read_roster(config.data_dir) or [
        PeerAddress(m.name, node, m.host, m.port) for node, m in founders(charter).items()
    ]
    return addressed(found, config)


async def _find_cluster(
    config: NodeConfig,
    store: LmdbStore,
    gate: Gate,
    token: str,
    certificates: Certificates | None,
    *,
    may_found: bool,
) -> Identity:
    """With an empty directory: know the cluster, durably."""
    found = await bootstrap.find_cluster(config, token, certificates, may_found=may_found and config.is_founder)
    if isinstance(found, bootstrap.Admission):
        charter = found.charter
        identity = Identity(charter.cluster_id, found.node, config.node.name, ())
        others = [PeerAddress(name, NodeId(node), host, port) for node, name, host, port in found.members]
        write_roster(config.data_dir, others)
    else:
        charter = found
        identity = bootstrap.identity_of(charter, config.node.name)
    bootstrap.establish(store, charter, identity.member_id)
    bootstrap.write_charter(store, charter)
    store.write_identity(identity)
    gate.charter = charter
    return identity


def _broker(config: NodeConfig, core: Core, nursery: trio.Nursery) -> Broker:
    amqp = config.amqp
    settings = ConnectionSettings(
        channel_max=amqp.channel_max,
        frame_max=amqp.frame_max,
        heartbeat=amqp.heartbeat_seconds,
        message_size_max=amqp.message_size_max,
        unfinished_content_max=2 * amqp.message_size_max,
        server_properties={
            "cluster_name": config.cluster.name,
            "product": "cluster-mq",
            "version": VERSION,
            "platform": "Python",
            "copyright": "",
            "information": "",
        },
    )
    return Broker(
        node=core.node,
        incarnation=core.incarnation,
        catalog=core.catalog.catalog,
        client=core.client,
        switchboard=core.switchboard,
        settings=settings,
        limits=BrokerLimits(
            connection_unconfirmed_max=config.limits.connection_unconfirmed_max,
            connection_outgoing_max=config.limits.connection_outgoing_max,
        ),
        loopback_user=config.auth.default_user if config.auth.loopback_only else "",
        wake=core.turns.ask,
        nursery=nursery,
        links=core.links,
    )


async def _join(config: NodeConfig, core: Core) -> None:
    """Wait until the catalog is founded (found it, if this node leads it) and this copy is up to date."""
    log = get_logger("node")
    while True:
        try:
            await core.client.catch_up()
            if not core.catalog.catalog.cluster_id:
                if not core.charter.members:
                    raise NoQuorum("the catalog is not here yet")
                await core.client.submit(await _founding(config, core))
            if core.incarnation > 1:
                await core.client.submit(c.NodeGone(core.node, core.incarnation - 1))
            own, known = config.this_member, core.members.by_id.get(core.node)
            if known is not None and (known.host, known.port) != (own.host, own.port):
                await core.client.submit(c.PutMember(core.node, own.name, own.host, own.port, c.KEEP_STATE))
            return
        except NoQuorum as error:
            log.warning("waiting for a quorum", reason=str(error))
        except BrokerError as error:
            raise OSError(f"the catalog refuses this node: {error}") from error


async def _founding(config: NodeConfig, core: Core) -> c.FoundCluster:
    password_hash = await trio.to_thread.run_sync(hash_password, config.auth.default_password.encode())
    return c.FoundCluster(
        core.charter.cluster_id,
        config.cluster.name,
        tuple([(n, m.name, m.host, m.port) for n, m in enumerate(core.charter.members, start=1)]),
        tuple([(group, nodes) for group, nodes in core.members.placement.items() if group]),
        config.auth.default_user,
        password_hash,
    )


async def _on_signal(stop: trio.Event, served: trio.Event, nursery: trio.Nursery) -> None:
    """The first signal drains, the second ends at once; so does the first where there is nothing to drain yet."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set() or not served.is_set():
                nursery.cancel_scope.cancel()
            stop.set()
