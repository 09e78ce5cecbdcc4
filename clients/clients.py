"""The clients: what each is installed from, and the command that proves it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients.agent_script import ANSWER, TASK
from jangtq_bundle.byte_tokenizer import tokenizer_files

Step = Sequence[str]


@dataclass(frozen=True)
class Place:
    """What a client's command may use: the server, the environment it is installed in, and its own home."""

    url: str
    model: str
    installed: Path
    home: Path

    @property
    def work(self) -> Path:
        """The folder that an agent works in."""
        return self.home / "work"

    @property
    def task(self) -> str:
        """What an agent is asked to do."""
        return TASK.format(path=self.work / "colour.txt")

    def bin(self, name: str) -> str:
        """An installed program."""
        folder = "node_modules/.bin" if (self.installed / "node_modules").exists() else "bin"
        return str(self.installed / folder / name)


@dataclass(frozen=True)
class Client:
    """`command` ends with 0 where the client works; an agent must also change the file and say so.

    `prepare` writes the client's configuration into its home. `quick` ones are those of CI.
    """

    name: str
    packages: tuple[str, ...]
    command: Callable[[Place], Sequence[str]]
    npm: bool = False
    agent: bool = False
    quick: bool = False
    answer: str = ""
    environment: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})
    prepare: Callable[[Place], None] = field(default=lambda place: None)


def _python(probe: str) -> Callable[[Place], Sequence[str]]:
    path = Path(__file__).parent / "probes" / f"{probe}.py"
    return lambda place: [place.bin("python"), str(path)]


def _node(probe: str) -> Callable[[Place], Sequence[str]]:
    # Node looks for packages from where the file lies.
    return lambda place: ["node", str(place.installed / "probes" / f"{probe}.mjs")]


def _claude(place: Place) -> Mapping[str, str]:
    return {
        "ANTHROPIC_BASE_URL": place.url,
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": place.model,
        "ANTHROPIC_SMALL_FAST_MODEL": place.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": place.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }


def _codex(place: Place) -> Sequence[str]:
    provider = f'model_providers.here={{name="here",base_url="{place.url}/v1",wire_api="responses"}}'
    run = [place.bin("codex"), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return [*run, "-c", "model_provider=here", "-c", provider, "-m", place.model, place.task]


def _openai_environment(place: Place) -> Mapping[str, str]:
    url = f"{place.url}/v1"
    return {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_BASE": url,
        "OPENAI_API_KEY": "none",
        "OPENAI_MODEL": place.model,
    }


def _configure_opencode(place: Place) -> None:
    folder = place.home / ".config/opencode"
    folder.mkdir(parents=True)
    text = (Path(__file__).parent / "probes/opencode.json").read_text()
    (folder / "opencode.json").write_text(text.replace("@URL@", place.url).replace("@MODEL@", place.model))


def _configure_llm(place: Place) -> None:
    folder = place.home / "llm"
    folder.mkdir()
    (folder / "extra-openai-models.yaml").write_text(
        f"- model_id: here\n  model_name: {place.model}\n  api_base: {place.url}/v1\n"
    )


def _aider(place: Place) -> Sequence[str]:
    quiet = [
        "--yes-always",
        "--no-git",
        "--no-check-update",
        "--analytics-disable",
        "--no-show-model-warnings",
    ]
    run = [place.bin("aider"), "--model", f"openai/{place.model}", "--edit-format", "diff", *quiet]
    return [*run, "--message", place.task, "colour.txt"]


def _guidellm(place: Place) -> Sequence[str]:
    """Asks for more tokens than the answer would have: a server that ignores ignore_eos gives fewer."""
    run = [place.bin("guidellm"), "run", "--disable-console-interactive"]
    kinds = {
        "backend": f"openai_http,target={place.url},model={place.model}",
        "profile": "synchronous",
        "constraint": "max_requests,count=3",
        "tokenizer": f"huggingface_auto,model={place.work / 'tokenizer'}",
        "data": "synthetic_text,prompt_tokens=32,output_tokens=64",
    }
    return [*run, *(part for name, kind in kinds.items() for part in (f"--{name}", f"kind={kind}"))]


def _configure_guidellm(place: Place) -> None:
    folder = place.work / "tokenizer"
    folder.mkdir()
    for name, content in tokenizer_files().items():
        (folder / name).write_bytes(content)


def _lm_eval(place: Place) -> Sequence[str]:
    arguments = f"model={place.model},base_url={place.url}/v1/chat/completions,num_concurrent=2,max_retries=1"
    run = [place.bin("lm_eval"), "--model", "local-chat-completions", "--model_args", arguments]
    return [*run, "--tasks", "here", "--include_path", str(place.work), "--apply_chat_template"]


def _configure_lm_eval(place: Place) -> None:
    for name in ("lm_eval_task.yaml", "lm_eval_questions.jsonl"):
        text = (Path(__file__).parent / "probes" / name).read_text()
        (place.work / name).write_text(text.replace("FOLDER", str(place.work)))


CLIENTS = (
    Client("openai-python", ("openai", "pydantic"), _python("openai_sdk"), quick=True),
    Client("anthropic-python", ("anthropic",), _python("anthropic_sdk"), quick=True),
    Client("openai-node", ("openai", "zod"), _node("openai_sdk"), npm=True, quick=True),
    Client("anthropic-node", ("@anthropic-ai/sdk", "zod"), _node("anthropic_sdk"), npm=True),
    Client("litellm", ("litellm",), _python("litellm_probe")),
    Client("langchain", ("langchain", "langchain-openai", "langchain-anthropic"), _python("langchain_probe")),
    Client("pydantic-ai", ("pydantic-ai-slim[openai,anthropic]",), _python("pydantic_ai_probe")),
    Client("openai-agents", ("openai-agents",), _python("openai_agents_probe")),
    Client("instructor", ("instructor",), _python("instructor_probe")),
    Client(
        "vercel-ai",
        ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "@ai-sdk/anthropic", "zod"),
        _node("vercel_ai"),
        npm=True,
    ),
    Client(
        "llm",
        ("llm",),
        lambda place: [place.bin("llm"), "-m", "here", "--key", "none", "Hi"],
        answer="Hello from the stand-in.",
        environment=lambda place: {"LLM_USER_PATH": str(place.home / "llm")},
        prepare=_configure_llm,
    ),
    Client(
        "lm-eval",
        ("lm-eval[api]",),
        _lm_eval,
        answer="|    1|±",
        environment=lambda place: {**_openai_environment(place), "HF_HUB_OFFLINE": "1"},
        prepare=_configure_lm_eval,
    ),
    Client("guidellm", ("guidellm",), _guidellm, answer="Benchmarking complete", prepare=_configure_guidellm),
    Client("aider", ("aider-chat",), _aider, agent=True, environment=_openai_environment),
    Client(
        "claude-code",
        ("@anthropic-ai/claude-code",),
        lambda place: [place.bin("claude"), "-p", place.task, "--permission-mode", "bypassPermissions"],
        npm=True,
        agent=True,
        quick=True,
        answer=ANSWER,
        environment=_claude,
    ),
    Client(
        "codex",
        ("@openai/codex",),
        _codex,
        npm=True,
        agent=True,
        quick=True,
        answer=ANSWER,
        environment=lambda place: {"CODEX_HOME": str(place.home)},
    ),
    Client(
        "opencode",
        ("opencode-ai",),
        lambda place: [place.bin("opencode"), "run", place.task],
        npm=True,
        agent=True,
        answer=ANSWER,
        prepare=_configure_opencode,
    ),
    Client(
        "qwen-code",
        ("@qwen-code/qwen-code",),
        lambda place: [place.bin("qwen"), "-p", place.task, "--yolo", "--auth-type", "openai"],
        npm=True,
        agent=True,
        answer=ANSWER,
        environment=_openai_environment,
    ),
)
