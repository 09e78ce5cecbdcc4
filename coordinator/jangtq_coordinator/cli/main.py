"""`jangtq-coord`: the command line of the coordinator."""

import sys
from collections.abc import Sequence
from typing import Final

from jangtq_coordinator import logs
from jangtq_coordinator.cli.command_settings import (
    CertsSettings,
    DemoSettings,
    DoctorSettings,
    HashSettings,
    KeySettings,
    Question,
    TraceSettings,
    WorkerSettings,
)
from jangtq_coordinator.cli.running_settings import (
    BenchSettings,
    ChatSettings,
    InfoSettings,
    StatusSettings,
)
from jangtq_coordinator.config import ClusterSettings, ServeSettings
from jangtq_kernels.errors import BackendMissingError
from jangtq_proto.command_line import Chosen, Command, Program
from jangtq_proto.errors import JangtqError
from jangtq_proto.open_files import raise_open_files

_PROGRAM: Final = "jangtq-coord"
_MODEL: Final = "--model ~/MiniMax-M2.7-JANGTQ"


def _serve(given: Chosen) -> None:
    from jangtq_coordinator.cli.serve import serve

    logs.configure(given[ServeSettings].log_format)
    serve(given[ClusterSettings], given[ServeSettings])


def _generate(given: Chosen) -> None:
    from jangtq_coordinator.cli.generate import generate

    generate(given[ClusterSettings], given[Question])


def _make_key(given: Chosen) -> None:
    from jangtq_coordinator.api.http.api_keys import add_key

    print(add_key(given[KeySettings].api_keys, given[KeySettings].name))


def _make_certificates(given: Chosen) -> None:
    from jangtq_coordinator.cli.certs import make_certificates

    make_certificates(given[CertsSettings])


def _hash(given: Chosen) -> None:
    from jangtq_coordinator.cli.hash_bundle import hash_bundle

    hash_bundle(given[HashSettings].model)


def _add(given: Chosen) -> None:
    from jangtq_coordinator.cli.workers import change_worker

    change_worker(given[WorkerSettings], "add")


def _drain(given: Chosen) -> None:
    from jangtq_coordinator.cli.workers import change_worker

    change_worker(given[WorkerSettings], "drain")


def _show_status(given: Chosen) -> None:
    from jangtq_coordinator.cli.status import show_status

    show_status(given[StatusSettings])


def _show_info(given: Chosen) -> None:
    from jangtq_coordinator.cli.info import show_info

    show_info(given[InfoSettings])


def _chat(given: Chosen) -> None:
    from jangtq_coordinator.cli.chat import chat

    chat(given[ChatSettings])


def _bench(given: Chosen) -> None:
    from jangtq_coordinator.cli.bench import bench

    bench(given[BenchSettings])


def _save_trace(given: Chosen) -> None:
    from jangtq_coordinator.cli.trace import save_trace

    save_trace(given[TraceSettings])


def _diagnose(given: Chosen) -> None:
    from jangtq_coordinator.cli.doctor import diagnose

    diagnose(given[DoctorSettings])


def _demo(given: Chosen) -> None:
    from jangtq_coordinator.cli.demo.run import run_demo

    run_demo(given[DemoSettings])


COMMANDS: Final = {
    "serve": Command(
        "answer the OpenAI and Anthropic APIs",
        (
            f"{_PROGRAM} serve {_MODEL} --workers 10.0.0.1,10.0.0.2 --tls DIR/coordinator",
            f"{_PROGRAM} serve {_MODEL} --workers 10.0.0.2 --experts 0-95 --tls DIR/coordinator",
        ),
        (ClusterSettings, ServeSettings),
        _serve,
        arguments="--model DIR --workers HOST:PORT,...",
    ),
    "generate": Command(
        "write one answer to the terminal",
        (
            f'{_PROGRAM} generate {_MODEL} --experts 0-255 --prompt "Hello"',
            f"{_PROGRAM} generate {_MODEL} --workers 10.0.0.1 --temperature 0 < question.txt",
        ),
        (ClusterSettings, Question),
        _generate,
        arguments="--model DIR --workers HOST:PORT,...",
    ),
    "chat": Command(
        "talk with a running coordinator in the terminal",
        (f"{_PROGRAM} chat", f'{_PROGRAM} chat --url http://10.0.0.1:8080 --system "Answer briefly."'),
        (ChatSettings,),
        _chat,
    ),
    "status": Command(
        "show the workers of a running cluster, and what a layer takes",
        (f"{_PROGRAM} status", f"{_PROGRAM} status --watch --url http://10.0.0.1:8080"),
        (StatusSettings,),
        _show_status,
    ),
    "info": Command(
        "show what a running coordinator serves, and where its APIs are",
        (f"{_PROGRAM} info", f"{_PROGRAM} info --url http://10.0.0.1:8080 --json"),
        (InfoSettings,),
        _show_info,
    ),
    "bench": Command(
        "measure the speed of a running coordinator",
        (f"{_PROGRAM} bench", f"{_PROGRAM} bench --sequences 16 --prompt-words 500 --json"),
        (BenchSettings,),
        _bench,
    ),
    "key": Command(
        "make an API key and show it once",
        (
            f"{_PROGRAM} key --api-keys ~/.jangtq/keys --name laptop",
            f"{_PROGRAM} key --api-keys /etc/jangtq/keys --name agents",
        ),
        (KeySettings,),
        _make_key,
        arguments="--api-keys FILE --name TEXT",
    ),
    "certs": Command(
        "make and renew the certificates of a cluster",
        (
            f"{_PROGRAM} certs DIR --workers 10.0.0.1,10.0.0.2",
            f"{_PROGRAM} certs DIR --renew --days 90",
        ),
        (CertsSettings,),
        _make_certificates,
        arguments="DIR",
    ),
    "hash": Command(
        "compare a bundle with its hashes, or write them",
        (f"{_PROGRAM} hash {_MODEL}", f"JANGTQ_MODEL=~/MiniMax-M2.7-JANGTQ {_PROGRAM} hash"),
        (HashSettings,),
        _hash,
        arguments="--model DIR",
    ),
    "add": Command(
        "let a worker in to a running cluster, or in again",
        (f"{_PROGRAM} add 10.0.0.2:7700", f"{_PROGRAM} add 10.0.0.2 --url https://coordinator:8080"),
        (WorkerSettings,),
        _add,
        arguments="HOST:PORT",
    ),
    "drain": Command(
        "ask a worker nothing more, so that it may be stopped",
        (f"{_PROGRAM} drain 10.0.0.2:7700", f"{_PROGRAM} drain 10.0.0.2 --url https://coordinator:8080"),
        (WorkerSettings,),
        _drain,
        arguments="HOST:PORT",
    ),
    "trace": Command(
        "keep what a running coordinator did in a Perfetto file",
        (f"{_PROGRAM} trace", f"{_PROGRAM} trace --seconds 10 -o busy.json"),
        (TraceSettings,),
        _save_trace,
    ),
    "doctor": Command(
        "say what stands in the way here and at workers, and measure this machine",
        (
            f"{_PROGRAM} doctor --workers 10.0.0.1,10.0.0.2 --tls DIR/coordinator",
            f"{_PROGRAM} doctor --measure --workers 10.0.0.2 --tls DIR/coordinator --json",
        ),
        (DoctorSettings,),
        _diagnose,
    ),
    "demo": Command(
        "show two workers and a coordinator on this machine",
        (f"{_PROGRAM} demo", f"{_PROGRAM} demo --serve"),
        (DemoSettings,),
        _demo,
    ),
}


def program() -> Program:
    """`jangtq-coord` with its commands."""
    return Program(
        _PROGRAM,
        COMMANDS,
        description="Run a JANGTQ model whose routed experts live in workers.",
        examples=(
            f"{_PROGRAM} certs DIR --workers 10.0.0.1,10.0.0.2",
            *COMMANDS["serve"].examples,
            *COMMANDS["key"].examples[:1],
            *COMMANDS["drain"].examples[:1],
            f"{_PROGRAM} COMMAND --help",
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 after a clean end, 2 when it could not start, 130 when interrupted."""
    name, given = program().read(arguments)
    logs.configure(logs.LogFormat.TEXT)
    raise_open_files()
    try:
        COMMANDS[name].run(given)
    except (JangtqError, BackendMissingError) as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
