"""Certificates for gRPC: the worker's own, read for each connection, and the callers'. Knows no address."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import grpc
from cryptography import x509

from jangtq_proto.tls.credentials import Credentials, TlsFiles
from jangtq_worker.security.peers import PeerRefusedError, Peers

_Asked = TypeVar("_Asked")
_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")
_Answer = Callable[[_Asked, grpc.ServicerContext], _Reply]


def server_credentials(credentials: Credentials) -> grpc.ServerCredentials:
    """Demands a certificate of each caller; changed files take effect with the next connection."""
    shown = _Shown(credentials)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown.files),
        shown.changed,  # type: ignore[arg-type]  # None is allowed, and says that nothing changed
        require_client_authentication=True,
    )


class _Shown:
    """The files that gRPC got last."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.files = credentials.current()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new files, if gRPC does not have them yet."""
        files = self._credentials.current()
        if files is self.files:
            return None
        self.files = files
        return _configuration(files)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authorities)


class PeerCheck(grpc.ServerInterceptor):
    """Checks the caller's certificate at each RPC, and while it is answered."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[_Request, _Reply] | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[_Request, _Reply] | None":
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        coders = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._once(handler.unary_unary), *coders)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._streaming(handler.unary_stream), *coders)
        assert handler.stream_stream is not None, "no service of ours takes a stream and answers once"
        return grpc.stream_stream_rpc_method_handler(self._streaming(handler.stream_stream), *coders)

    def _once(self, answer: _Answer[_Asked, _Reply]) -> _Answer[_Asked, _Reply]:
        def checked(request: _Asked, context: grpc.ServicerContext) -> _Reply:
            try:
                with self._known(context):
                    return answer(request, context)
            except PeerRefusedError as error:
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

        return checked

    def _streaming(self, answers: _Answer[_Asked, Iterator[_Reply]]) -> _Answer[_Asked, Iterator[_Reply]]:
        def checked(request: _Asked, context: grpc.ServicerContext) -> Iterator[_Reply]:
            try:
                with self._known(context):
                    yield from answers(request, context)
            except PeerRefusedError as error:
                context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

        return checked

    def _known(self, context: grpc.ServicerContext) -> AbstractContextManager[None]:
        """Callers through a Unix socket have none."""
        shown = b"".join(context.auth_context().get("x509_pem_cert", ()))  # type: ignore[arg-type]  # a list
        if not shown:
            return nullcontext()
        return self._peers.known(x509.load_pem_x509_certificate(shown), context.cancel)
