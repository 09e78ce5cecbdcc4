"""`jangtq-coord serve`: the API over a cluster, from the first check to the last answer."""

import asyncio
import gc
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from types import FrameType

import uvicorn
from fastapi import FastAPI

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.opening import open_model
from jangtq_coordinator.api.admin.cluster_status import cluster_router, health_of
from jangtq_coordinator.api.admin.prometheus import ClusterCollector, EngineCollector
from jangtq_coordinator.api.admin.trace_endpoint import trace_router
from jangtq_coordinator.api.admin.workers_endpoint import workers_router
from jangtq_coordinator.api.app import ApiSettings, create_app
from jangtq_coordinator.api.chat.served_names import ServedNames
from jangtq_coordinator.api.http.access import Access
from jangtq_coordinator.api.http.api_keys import KeyFile
from jangtq_coordinator.api.http.connections import protocol_within
from jangtq_coordinator.api.http.request_metrics import RequestMetrics
from jangtq_coordinator.assembly.connect import Cluster, connect
from jangtq_coordinator.assembly.loader import loader, model_name, row_type_of
from jangtq_coordinator.config import ClusterSettings, ServeSettings
from jangtq_coordinator.engine.engine import Engine
from jangtq_proto.addresses import DEFAULT_WORKER_PORT, Address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.lifeline import stop_at_end_of_stdin
from jangtq_proto.ranges import expert_ids
from jangtq_proto.tls.credentials import check_key_is_private

_log = logging.getLogger("jangtq.serve")
_BACKLOG = 1024
_GRACE_SECONDS = 30
_MARGIN_SECONDS = 5


def serve(cluster_settings: ClusterSettings, settings: ServeSettings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish the running answers. Raises JangtqError."""
    with closing(listen(settings)) as listener:
        keys = None if settings.api_keys is None else KeyFile(settings.api_keys)
        check_tls(settings)
        warn_of_plain_keys(settings)
        bundle = open_model(
            cluster_settings.model, Holdings(expert_ids(cluster_settings.local_ranges), has_dense=True)
        )
        cluster = connect(bundle, cluster_settings, row_type=row_type_of(cluster_settings))
        engine = Engine(
            loader(bundle, cluster, cluster_settings),
            settings=replace(settings.engine, grace_seconds=_GRACE_SECONDS - _MARGIN_SECONDS),
        )
        try:
            engine.start()
            # Start-up objects stay: a collection that walks them would delay every stream.
            gc.collect()
            gc.freeze()
            listener.listen(_BACKLOG)
            announce(listener, bundle, cluster, scheme="https" if settings.tls_key else "http")
            app = _app(engine, cluster, bundle, _api_settings(settings, keys))
            config = server_config(app, settings)
            run_server(config, listener, engine=engine, watch_stdin=settings.stop_on_stdin_close)
        finally:
            engine.stop()
            cluster.close()
    print("stopped", flush=True)


def listen(settings: ServeSettings) -> socket.socket:
    """Bind the port at once, without taking connections yet. Raises ConfigurationError."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        address = Address(settings.host, settings.port)
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror}") from error
    # Connections inherit it. A token must not wait for the acknowledgement of earlier ones.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def check_tls(settings: ServeSettings) -> None:
    """Raise ConfigurationError if the files for HTTPS cannot be used."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    try:
        ssl.create_default_context().load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        files = f"--tls-cert {settings.tls_certificate} with --tls-key {settings.tls_key}"
        raise ConfigurationError(f"{files} cannot be used: {error.strerror or error}") from error
    check_key_is_private(settings.tls_key)


def warn_of_plain_keys(settings: ServeSettings) -> None:
    """Warn in the log if keys travel unencrypted."""
    reachable = not Address(settings.host, settings.port).is_loopback
    if settings.api_keys is not None and settings.tls_certificate is None and reachable:
        _log.warning(
            "--api-keys without --tls-cert and --tls-key: keys and answers go over plain HTTP, and others on "
            "the way to %s can read them",
            settings.host,
        )


def announce(listener: socket.socket, bundle: Bundle, cluster: Cluster, *, scheme: str) -> None:
    """Print where the API listens, and the model and workers behind it."""
    host, port = listener.getsockname()[:2]
    print(f"listening on {scheme}://{Address(host, port)}", flush=True)
    print(
        f"ready: {model_name(bundle)}, {bundle.config.layer_count} layers, "
        f"{bundle.config.expert_count} experts held by {', '.join(h.name for h in cluster.workers)}",
        flush=True,
    )


def server_config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    """uvicorn with these limits and our log, without features that this API does not use."""
    limits = settings.limits
    config = uvicorn.Config(
        app,
        http=protocol_within(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.header_bytes,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return config


def run_server(config: uvicorn.Config, listener: socket.socket, *, engine: Engine, watch_stdin: bool) -> None:
    """Run uvicorn on a listening socket until a signal; then running answers may finish."""
    server = _Server(config, engine)
    if watch_stdin:
        stop_at_end_of_stdin(server.ask_to_stop)
    asyncio.run(server.serve(sockets=[listener]))


class _Server(uvicorn.Server):
    """Ends with status 0 after a signal: uvicorn itself would raise the signal again at the end."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    def ask_to_stop(self) -> None:
        """Stop engine and server.

        Streams that outlive the grace end with an error, not with a cut connection.
        """
        threading.Thread(target=self._engine.stop, daemon=True).start()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # First, since uvicorn takes a signal after should_exit for a second one, which cuts answers.
        super().handle_exit(sig, frame)
        self.ask_to_stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _api_settings(settings: ServeSettings, keys: KeyFile | None) -> ApiSettings:
    access = Access(keys, settings.allowed_origins)
    return ApiSettings(settings.max_body_bytes, access=access, names=ServedNames(settings.aliases))


def _app(engine: Engine, cluster: Cluster, bundle: Bundle, settings: ApiSettings) -> FastAPI:
    metrics = RequestMetrics()
    metrics.registry.register(EngineCollector(engine))
    metrics.registry.register(ClusterCollector(cluster))
    app = create_app(engine, settings=settings, metrics=metrics, cluster_health=lambda: health_of(cluster))
    app.include_router(cluster_router(cluster, bundle.fingerprint))
    app.include_router(
        workers_router(cluster.membership, cluster.health_monitor, default_port=DEFAULT_WORKER_PORT)
    )
    app.include_router(trace_router(cluster.dispatcher.timeline))
    return app
