"""The names by which clients may ask for the one model that is served."""

from dataclasses import dataclass

from jangtq_coordinator.engine.loaded_model import LoadedModel
from jangtq_proto.errors import UnknownModelError


@dataclass(frozen=True)
class ServedNames:
    """`aliases` stand beside the model's own name, for clients that ask for a model by a fixed one."""

    aliases: tuple[str, ...] = ()

    def all_of(self, loaded: LoadedModel) -> tuple[str, ...]:
        """Its own name first."""
        return (loaded.name, *(name for name in self.aliases if name != loaded.name))

    def check(self, name: str | None, loaded: LoadedModel) -> None:
        """A request without a model's name means the one that is served. Raises UnknownModelError."""
        names = self.all_of(loaded)
        if name is not None and name not in names:
            served = ", ".join(map(repr, names))
            raise UnknownModelError(
                f"the model {name!r} is not served here; the one that is: {served} (--alias adds names)"
            )
