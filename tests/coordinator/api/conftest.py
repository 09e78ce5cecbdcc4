"""The suites of conversations run twice: with the demo's chat template and with MiniMax-M2's own."""

from collections.abc import Iterator

import pytest

from tests.support import tiny_model

_TEMPLATES = ("demo", "MiniMax-M2")
_WITH_BOTH = ("test_tools.py", "test_messages_endpoint.py", "test_responses.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = _TEMPLATES if metafunc.definition.path.name in _WITH_BOTH else _TEMPLATES[:1]
    metafunc.parametrize("chat_template", names, indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def chat_template(request: pytest.FixtureRequest) -> Iterator[str]:
    """The template of every model that a test of this folder serves."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "demo":
            own = tiny_model.load_tokenizer_with_template(f"{request.param}.jinja")
            patch.setattr(tiny_model, "load_tiny_tokenizer", lambda: own)
        yield request.param
