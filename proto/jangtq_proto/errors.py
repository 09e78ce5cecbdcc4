"""The project's error tree. Free of imports: every command line needs it.

JangtqError
├── ConfigurationError          a command line or a setting cannot be used
├── InstallationError           compiled code does not belong to the Python beside it
├── BundleError                 a JANGTQ directory is broken or does not fit the request
├── RequestError                a client of the API asked for something impossible
│   ├── UnknownModelError       the model named is not the one served
│   ├── UnknownRequestError     the request named is not remembered
│   └── ContextOverflowError    prompt and answer do not fit the context
├── QueueFullError              too many requests wait already; the client may come back
├── EngineUnavailableError      the engine takes no requests, or ended one early
└── ClusterError                coordinator and workers cannot work together
    ├── WorkerUnreachableError  no answer, or one that came too late
    ├── WorkerMismatchError     other bundle, other protocol, other sizes
    ├── CoverageError           no worker holds some experts
    ├── CallRejectedError       the worker found the call malformed
    ├── WorkerBusyError         the worker is loading, or its streams are full
    └── WorkerFaultError        the worker failed while computing
"""


class JangtqError(Exception):
    """Anything this project raises on purpose."""


class ConfigurationError(JangtqError):
    """A command line or a setting cannot be used; the message names the value and what is allowed."""


class InstallationError(JangtqError):
    """Compiled code does not belong to the Python beside it; the message names the file and what to do."""


class BundleError(JangtqError):
    """A JANGTQ directory is broken; the message names file, tensor, found and expected."""


class RequestError(JangtqError):
    """A client of the API asked for something impossible; `param` names the field, where it is one."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class UnknownModelError(RequestError):
    """The request names a model that is not served here."""


class UnknownRequestError(RequestError):
    """The request that a trace is wanted of is not remembered."""


class ContextOverflowError(RequestError):
    """Prompt and answer together do not fit the model's context."""

    @classmethod
    def of(cls, *, prompt_tokens: int, context_length: int, hint: str = "") -> "ContextOverflowError":
        """Says so in the words by which clients recognise it, since no code is read by all of them.

        Claude Code and pydantic-ai look for "prompt is too long: N tokens > M maximum", LangChain for its
        first words, LiteLLM and qwen-code for "maximum context length is M tokens ... resulted in N tokens".
        """
        return cls(
            f"This model's maximum context length is {context_length} tokens. However, your prompt is too "
            f"long: {prompt_tokens} tokens > {context_length - 1} maximum (your messages resulted in "
            f"{prompt_tokens} tokens, and the answer needs at least one){hint}.",
            param="messages",
        )


class QueueFullError(JangtqError):
    """Too many requests wait already."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EngineUnavailableError(JangtqError):
    """The engine takes no requests, or stopped before an answer was complete."""


class ClusterError(JangtqError):
    """Coordinator and workers cannot work together."""


class WorkerUnreachableError(ClusterError):
    """No answer from an address, or one that came too late."""


class WorkerMismatchError(ClusterError):
    """A worker holds another bundle or speaks another protocol version."""


class CoverageError(ClusterError):
    """No worker holds some experts of the bundle."""


class CallRejectedError(ClusterError):
    """A worker found an expert call malformed."""


class WorkerBusyError(ClusterError):
    """A worker is still loading, or its streams are full."""


class WorkerFaultError(ClusterError):
    """A worker failed while computing."""
