"""POST /cluster/workers and /cluster/workers/drain: workers join and leave while requests run."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel

from jangtq_coordinator.api.http.access import require_admin
from jangtq_coordinator.cluster.health_monitor import HealthMonitor
from jangtq_coordinator.cluster.membership import Membership
from jangtq_proto.addresses import parse_address
from jangtq_proto.errors import ClusterError, ConfigurationError
from jangtq_proto.ranges import format_ranges


class WorkerName(BaseModel):
    """A worker, as HOST:PORT."""

    worker: str


class WorkerChange(BaseModel):
    """The worker's new state."""

    worker: str
    experts: str
    state: str


def workers_router(membership: Membership, health_monitor: HealthMonitor, *, default_port: int) -> APIRouter:
    """The routes that add and drain workers."""
    router = APIRouter(dependencies=[Depends(require_admin)])

    @router.post("/cluster/workers")
    def post_worker(body: WorkerName) -> WorkerChange:
        """Admit a worker: a new one, or one that was drained or quarantined."""
        with _as_http():
            worker = health_monitor.admit(parse_address(body.worker, default_port=default_port))
        return WorkerChange(worker=worker.name, experts=format_ranges(worker.ranges), state="serving")

    @router.post("/cluster/workers/drain")
    def post_drain(body: WorkerName) -> WorkerChange:
        """Send a worker no more calls, so that it can be stopped; others must hold all of its experts."""
        with _as_http():
            name = str(parse_address(body.worker, default_port=default_port))
            member = membership.drain(name)
        return WorkerChange(worker=member.name, experts=format_ranges(member.info.ranges), state=member.state)

    return router


@contextmanager
def _as_http() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise HTTPException(400, str(error)) from error
    except ClusterError as error:
        raise HTTPException(409, str(error)) from error
