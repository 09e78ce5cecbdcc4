"""What is set of sockets, and polling them."""

import socket

import pytest

from jangtq_proto.sockets.socket_options import poll, set_kernel_timeout, tune


def test_tcp_sends_at_once_and_both_kinds_notice_a_machine_that_went_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tcp = socket.create_connection(server.getsockname())
    near, far = socket.socketpair()
    with tcp, near, far:
        for sock in (tcp, near):
            tune(sock)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_read_ends_after_the_time_of_the_kernel() -> None:
    near, far = socket.socketpair()
    with near, far:
        set_kernel_timeout(near, socket.SO_RCVTIMEO, 0.02)
        with pytest.raises(BlockingIOError):
            near.recv(1)
        far.send(b"a")
        assert near.recv(1) == b"a"


def test_polling_finds_bytes_the_end_and_nothing() -> None:
    near, far = socket.socketpair()
    buffer = memoryview(bytearray(8))
    with near, far:
        assert poll(near, buffer, 1000) is None
        far.send(b"abc")
        assert poll(near, buffer, 1_000_000_000) == 3 and bytes(buffer[:3]) == b"abc"
        far.shutdown(socket.SHUT_WR)
        assert poll(near, buffer, 1_000_000_000) == 0
