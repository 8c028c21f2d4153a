"""The ``service`` section of ``fairway.yaml``: how an arm is started and asked."""

from __future__ import annotations

from enum import StrEnum

from pydantic import model_validator

from fairway.section import Command, Duration, HttpPath, Port, Section, Variables


class Binding(StrEnum):
    """How the service takes its prompts, models and tools.

    ``env``: reads the folder ``FAIRWAY_BUNDLE``; ``mount``: the same folder at a fixed path; ``none``: they are part of
    its code, so a prompt change is a code change.
    """

    ENV = "env"
    MOUNT = "mount"
    NONE = "none"


class ServiceSection(Section):
    """A service in any language, started by any command.

    Attributes:
        command: ``{port}`` and ``{host}`` are replaced; the port is also in ``FAIRWAY_PORT``.
        health: Answers 200 while the process is alive.
        ready: Answers 200 when it can serve; may report its release.
        chat: Where a conversation's message is posted.
        port: Port inside a container; locally a free one is given.
        ready_timeout: Seconds an instance has to become ready.
        drain: Seconds a stopping instance has to finish its requests.
        environment: Environment variables of the process.
    """

    command: Command
    health: HttpPath = "/health"
    ready: HttpPath = "/ready"
    chat: HttpPath = "/chat"
    port: Port | None = None
    binding: Binding = Binding.ENV
    ready_timeout: Duration = 60.0
    drain: Duration = 30.0
    environment: Variables = {}

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSection:
        if self.ready_timeout <= 0:
            raise ValueError("ready_timeout must be above 0")
        reserved = sorted(name for name in self.environment if name.startswith("FAIRWAY_"))
        if reserved:
            raise ValueError(f"Fairway sets {reserved[0]} itself; choose another name")
        if self.binding is Binding.MOUNT:
            raise ValueError("binding: mount needs a container target, which is not available yet; use env")
        return self
