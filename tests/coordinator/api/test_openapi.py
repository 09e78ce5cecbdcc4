"""Whatever the API's own description allows, and much that it does not, gets an answer that is no 5xx."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema

from jangtq_coordinator.api.app import create_app
from jangtq_coordinator.engine.engine import Engine
from jangtq_coordinator.engine.engine_config import EngineSettings
from tests.support.mutations import scaled
from tests.support.tiny_model import loader

EXAMPLES = scaled(4)
CONTEXT_LENGTH = 128
Operation = APIOperation[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def schema() -> Iterator[BaseSchema]:
    """The description of an API over the tiny model, whose context leaves room for short answers only."""
    engine = Engine(loader(context_length=CONTEXT_LENGTH), settings=EngineSettings())
    engine.start()
    try:
        yield schemathesis.openapi.from_asgi(
            "/openapi.json", create_app(engine), headers={"Host": "localhost"}
        )
    finally:
        engine.stop(grace_seconds=0)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_breaks_the_server(schema: BaseSchema, mode: GenerationMode) -> None:
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert {"/v1/chat/completions", "/v1/models", "/health"} <= {operation.path for operation in operations}
    for operation in operations:
        # Where no body can be given, none can be wrong.
        if mode is GenerationMode.POSITIVE or list(operation.body):
            call_often(operation, mode)


def call_often(operation: Operation, mode: GenerationMode) -> None:
    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=[not_a_server_error], headers={"Host": "localhost"})

    call()
