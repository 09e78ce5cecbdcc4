"""A worker's life: listen, load, serve, drain, stop."""

import gc
import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from jangtq_bundle.extension import Extension
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.loading import check_kernels, load_layers
from jangtq_bundle.opening import open_model
from jangtq_kernels.apple import ask_for_fast_cores
from jangtq_kernels.backend import Backend, LoadedLayer
from jangtq_kernels.backends import open_backend
from jangtq_proto.addresses import Address
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.lifeline import stop_at_end_of_stdin
from jangtq_proto.ranges import ExpertRange, expert_ids, format_ranges
from jangtq_proto.sockets.local_sockets import SocketFolder
from jangtq_proto.timings import TIMINGS
from jangtq_proto.tls.certificates import Role
from jangtq_proto.tls.credentials import Credentials
from jangtq_proto.v1 import expert_pb2 as pb
from jangtq_proto.v1 import expert_pb2_grpc
from jangtq_proto.wire.codec import NO_COMPRESSION, CallShape, message_limit
from jangtq_worker.device.admission import Admission
from jangtq_worker.device.keep_warm import KeepWarm
from jangtq_worker.device.shard import Shard
from jangtq_worker.security.peers import Peers
from jangtq_worker.security.tls import PeerCheck, server_credentials
from jangtq_worker.settings import WorkerSettings
from jangtq_worker.transport.express_listener import ExpressListener, ExpressSettings
from jangtq_worker.transport.grpc_service import ExpertService, Identity

_SERVICE = pb.DESCRIPTOR.services_by_name["ExpertService"].full_name
_CONTROL_THREADS = 8
_HANDSHAKE_MS = 10_000
_IDLE_MS = 60_000
_log = logging.getLogger("jangtq.worker")


class Stopped(Exception):
    """The worker was stopped before its experts were loaded."""


class WorkerServer:
    """Runs in the thread that calls `run`; any thread or signal handler may call `stop`."""

    def __init__(self, settings: WorkerSettings, backend: Backend | None = None) -> None:
        """Without `backend`, the settings choose one."""
        self.listening = settings.listen
        self._settings = settings
        self._experts = expert_ids(settings.ranges)
        self._stop = threading.Event()
        self._credentials = Credentials(settings.tls, Role.WORKER) if settings.tls else None
        self._peers = Peers(self._credentials) if self._credentials else None
        self._bundle = open_model(settings.model, Holdings(self._experts, has_dense=False))
        self._backend = backend or open_backend(settings.device, threads=settings.threads)
        identity = Identity(self._bundle, self._backend.name)
        config = self._bundle.config
        shape = CallShape(config.layer_count, config.hidden_size)
        self.admission = Admission(shape, max_streams=settings.max_streams, max_calls=settings.max_calls)
        self._extension = Extension(
            self._bundle, self._backend, spare_bytes=settings.spare_bytes, held=self._hold
        )
        self._service = ExpertService(identity, self.admission, self._extension)
        self._folder = SocketFolder()
        self._express: ExpressListener | None = None
        self._health = health.HealthServicer()
        self._keep_warm: KeepWarm | None = None
        self._server = self._build()

    def stop(self) -> None:
        """Finish the calls in flight and end."""
        self._stop.set()

    def run(self) -> None:
        """Listen, load, serve until stopped, drain. Raises BundleError and ConfigurationError."""
        self.startup()
        try:
            self.load()
            # A signal just before the wait begins does not interrupt it: its handler runs after the time-out.
            while not self._stop.wait(TIMINGS.signal_check):
                pass
            self.leave()
        except Stopped:
            _log.info("stopped while loading")
        finally:
            self.shutdown()

    def startup(self) -> None:
        """Listen, with health NOT_SERVING."""
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self.listening = self._bind()
        express = ExpressSettings(
            self.listening,
            self._folder,
            port=self._settings.express_port,
            poll_us=self._settings.poll_us,
            credentials=self._credentials,
            peers=self._peers,
        )
        self._express = ExpressListener(self.admission, express)
        if self._settings.express_port:
            self._express.open()
        self._announce_machine()
        self._service.offer(self._express)
        if self._peers is not None:
            self._peers.start()
        self._server.start()
        print(f"listening on {self.listening}", flush=True)

    def load(self) -> None:
        """Read the experts and start to serve."""
        config = self._bundle.config
        if self._backend.name == "metal":
            from jangtq_kernels.metal.memory import limit_cache  # other devices need no MLX in the process

            limit_cache()
        if not self._bundle.has_hashes:
            _log.warning(
                "the bundle has no hashes, flipped bits go unnoticed: `jangtq-coord hash` writes some"
            )
        layers = load_layers(self._bundle, self._backend, self._experts, on_layer=self._report_layer)
        _log.info("%s", check_kernels(self._bundle, self._experts, layers))
        gc.freeze()  # so that collections skip everything loaded so far
        shard = Shard(layers)
        self._extension.begin_with(self._experts, layers)
        self._service.hold(self._settings.ranges)
        self.admission.serve(shard)
        self._keep_warm = self._start_keep_warm()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        print(
            f"ready: experts {format_ranges(self._settings.ranges)} of {config.expert_count}, "
            f"{config.layer_count} layers, {shard.weight_bytes / 1e6:.1f} MB on {self._backend.name}",
            flush=True,
        )

    def leave(self) -> None:
        """Announce the end, and answer until coordinators use other workers."""
        _log.info("leaving: coordinators are informed; a second signal ends this worker at once")
        self._health.enter_graceful_shutdown()
        self._service.leave()
        self.admission.wait_until_left(quiet_seconds=TIMINGS.leave_quiet, timeout_seconds=TIMINGS.leave_most)

    def shutdown(self) -> None:
        """Set health to NOT_SERVING, finish the calls in flight, close every stream."""
        self._health.enter_graceful_shutdown()
        self._extension.stop()
        if self._keep_warm is not None:
            self._keep_warm.stop()
        if not self.admission.drain(self._settings.grace_seconds):
            _log.warning("calls were still running after %.0f s", self._settings.grace_seconds)
        if self._express is not None:
            self._express.close()
        self._server.stop(grace=0.2).wait()
        if self._peers is not None:
            self._peers.stop()
        print("stopped", flush=True)

    def _start_keep_warm(self) -> KeepWarm | None:
        wanted = self._settings.keep_warm
        if wanted == "off" or (wanted == "auto" and self._backend.name != "metal"):
            return None
        from jangtq_kernels.metal.memory import touch_device  # other devices need no MLX in the process

        admission = self.admission
        warm = KeepWarm(
            touch_device,
            streams=lambda: admission.streams.count,
            calls=lambda: admission.in_flight.total,
        )
        warm.start()
        return warm

    def _hold(self, ranges: tuple[ExpertRange, ...], layers: tuple[LoadedLayer, ...]) -> None:
        """Change the held experts: for calls before the description, so that no call comes too early."""
        self.admission.hold(layers)
        self._service.hold(ranges)

    def _build(self) -> grpc.Server:
        limit = message_limit(self._bundle.config.hidden_size)
        threads = self._settings.max_streams + _CONTROL_THREADS
        server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="stream", initializer=ask_for_fast_cores),
            maximum_concurrent_rpcs=threads + _CONTROL_THREADS,
            interceptors=[PeerCheck(self._peers)] if self._peers else [],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_connection_idle_ms", _IDLE_MS),
                ("grpc.compression_enabled_algorithms_bitset", NO_COMPRESSION),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
            ],
        )
        expert_pb2_grpc.add_ExpertServiceServicer_to_server(self._service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server

    def _bind(self) -> Address:
        """Bind; returns the address with its port."""
        listen = self._settings.listen
        try:
            port = self._add_port(listen)
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {listen}: the address is in use or not on this machine"
            ) from error
        return listen if listen.is_unix else Address(listen.host, port)

    def _add_port(self, listen: Address) -> int:
        """A Unix socket stays plain: its folder's mode says who may connect."""
        if self._credentials is None or listen.is_unix:
            return self._server.add_insecure_port(str(listen))
        return self._server.add_secure_port(str(listen), server_credentials(self._credentials))

    def _announce_machine(self) -> None:
        try:
            self._service.announce(self._folder.machine_id())
        except OSError as error:
            _log.info("coordinators on this machine will not know it: %s", error)

    def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", _SERVICE):
            self._health.set(service, status)

    def _report_layer(self, done: int) -> None:
        if self._stop.is_set():
            raise Stopped
        total = self._bundle.config.layer_count
        if done == total or done % max(1, total // 10) == 0:
            _log.info("loaded %d of %d layers", done, total)


def run_until_signal(server: WorkerServer, *, watch_stdin: bool) -> None:
    """Run until SIGTERM, SIGINT, SIGHUP or, if `watch_stdin`, the end of standard input; twice kills."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        _set_handlers(signal.SIG_DFL)
        server.stop()

    _set_handlers(on_signal)
    if watch_stdin:
        stop_at_end_of_stdin(server.stop)
    server.run()


def _set_handlers(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handler)
