"""The processes of a project: gateway, controller and, where models are mocked, the mock model server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fairway import __version__
from fairway.bundle.models import MOCK_PROVIDER
from fairway.clock import Clock, SystemClock
from fairway.errors import NotFoundError, TransientError, UserError
from fairway.gateway.handover import listener_socket
from fairway.project.load import Project
from fairway.supervise.child import ChildSpec, Launch, Takeover
from fairway.supervise.entrance import checked_access_log, checked_certificate, listening_options
from fairway.supervise.info import UpInfo, read_info
from fairway.supervise.leash import Leash
from fairway.supervise.listener import Listener
from fairway.supervise.supervisor import describe_self
from fairway.targets.local.probe import ProbeError, fetch
from fairway.targets.local.process import LOOPBACK, free_port, listener_of, port_is_free
from fairway.traffic.local_http import LocalClient
from fairway.traffic.sampling import STATUS

GATEWAY, CONTROLLER, LIVE, MOCK = "gateway", "controller", "live", "mock-llm"
END_ORDER = (GATEWAY, CONTROLLER, LIVE, MOCK)
"""The gateway drains first, so that nothing is routed to what stops; the model goes last, so that arms can finish."""

_HTTP_OK = 200
_READY_SECONDS = 1.0
_ALIVE_SECONDS = 3.0
_MARGIN_SECONDS = 10.0  # beyond what a child gives its own work


def uses_mock_models(project: Project, environment: str) -> bool:
    """Whether arms in an environment may need the mock model server."""
    if project.environment(environment).mock_models:
        return True
    return any(model.provider == MOCK_PROVIDER for model in project.models.models.values())


def log_options(project: Project) -> tuple[str, ...]:
    """Where the gateway's access log goes, as ``fairway gateway serve`` is told; a path is the project's."""
    to = project.gateway.access_log
    if to is None:
        return ()
    return ("--access-log", to if to == "-" else str(project.root / to))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What is served where."""

    gateway: int
    admin: int
    mock: int | None


class Processes:
    """What ``fairway up`` runs for a project. Holds the listening socket and the leash; :meth:`close` lets go of both.

    Args:
        project: The project.
        environment: Served by the gateway.
        port: The gateway's; ``None``: the project's; 0: a free one.
        admin_port: For metrics and status; ``None``: the project's, or a free one when that is taken.
        clock: Time.

    Raises:
        UserError: ``port_taken`` when somebody else has the port.
        ProjectFileError: ``tls`` when the certificate does not serve.
        NotFoundError: ``mock_scenario`` when the scenario of the mock models is missing.
    """

    def __init__(
        self,
        project: Project,
        *,
        environment: str,
        port: int | None = None,
        admin_port: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._project = project
        self._state = project.state
        self._host = project.gateway.host
        left = read_info(self._state)
        self._scenario = project.root / project.llm.mock.scenario
        mocked = uses_mock_models(project, environment)
        if mocked and not self._scenario.is_file():
            raise NotFoundError(
                f"models are mocked in {environment}, and {project.llm.mock.scenario} is missing",
                code="mock_scenario",
                hint="write a scenario, name another in llm.mock.scenario of fairway.yaml, or use a real provider",
            )
        checked_certificate(project)
        checked_access_log(project)
        wanted = project.gateway.port if port is None else port
        gateway_left = _left_port(left, GATEWAY, left.url if left else None)
        self.listener = Listener(self._host, gateway_left if wanted == 0 and gateway_left else wanted)
        if gateway_left is None or gateway_left != self.listener.port:
            self.listener.open()
        else:
            self.listener.share(listener_socket(self._state))
        self.ports = Ports(
            gateway=self.listener.port,
            admin=self._admin_port(left, admin_port),
            mock=self._mock_port(left) if mocked else None,
        )
        self.leash = Leash()
        now = (clock or SystemClock()).now().timestamp()
        self.info = describe_self(
            project=project.root,
            url=self.url,
            admin_url=f"http://{LOOPBACK}:{self.ports.admin}",
            mock_url=self.mock_url,
            started_at=now,
        )

    @property
    def url(self) -> str:
        """Where clients call."""
        host = self._host.strip("[]")
        host = LOOPBACK if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        scheme = "http" if self._project.gateway.tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.ports.gateway}"

    @property
    def mock_url(self) -> str | None:
        """The mock model's ``…/v1``."""
        return None if self.ports.mock is None else f"http://{LOOPBACK}:{self.ports.mock}/v1"

    def specs(self) -> list[ChildSpec]:
        """The children, in the order they are started."""
        mock = [] if self.ports.mock is None else [self._mock(self.ports.mock)]
        live = [self._live()] if self._project.gateway.capture is not None else []
        return [*mock, *live, self._gateway(), self._controller()]

    def close(self) -> None:
        """Let go of the socket and the leash."""
        self.listener.close()
        self.leash.close()

    # -- ports --------------------------------------------------------------------------------------------------------

    def _admin_port(self, left: UpInfo | None, wanted: int | None) -> int:
        """The admin port: nobody depends on it, so a taken default is no reason to refuse."""
        port = self._project.gateway.admin_port if wanted is None else wanted
        used = _left_port(left, GATEWAY, left.admin_url if left else None)
        if used is not None and (port in (0, used) or wanted is None):
            return used
        if port and port_is_free(port):
            return port
        if port and wanted is not None:
            who = listener_of(port)
            raise UserError(
                f"port {port} on {LOOPBACK} is taken" + (f" by {who}" if who else ""),
                code="port_taken",
                hint="choose another with --admin-port",
            )
        return free_port(taken={self.listener.port})

    def _mock_port(self, left: UpInfo | None) -> int:
        """The port arms that still run know the mock model by, else the project's, else a free one."""
        if left is not None and left.mock_url is not None:
            port = urlsplit(left.mock_url).port
            if port and (left.children.get(MOCK) is not None or port_is_free(port)):
                return port
        return self._project.llm.mock.port or free_port(taken={self.listener.port})

    # -- children -----------------------------------------------------------------------------------------------------

    def _command(self, *words: str) -> tuple[str, ...]:
        """A command of this very Fairway."""
        return (sys.executable, "-m", *words)

    def _log(self, name: str) -> Path:
        """Where a child writes."""
        return self._state.logs / f"{name}.log"

    def _gateway(self) -> ChildSpec:
        """The data plane; lives on without us and is adopted."""
        gateway, ports = self._project.gateway, self.ports
        drain = gateway.timeouts.total
        serving = ("--admin-port", str(ports.admin), "--workers", str(gateway.workers), "--drain", f"{drain:g}")
        options = (*serving, *log_options(self._project), *listening_options(self._project))

        def launch() -> Launch:
            descriptor = self.listener.open()
            command = self._command(
                "fairway", "gateway", "serve", "--project", str(self._project.root), "--fd", str(descriptor), *options
            )
            return Launch(command=command, pass_fds=(descriptor,))

        return ChildSpec(
            name=GATEWAY,
            launch=launch,
            cwd=self._project.root,
            log=self._log(GATEWAY),
            ready=lambda: _answers(ports.admin, "/healthz"),
            alive=lambda: _says_anything(ports.admin, "/healthz"),
            url=lambda: self.url,
            grace=drain + _MARGIN_SECONDS,
            fingerprint=" ".join((__version__, self._host, str(ports.gateway), *options)),
            takeover=Takeover.ADOPT,
            sweeps=False,
        )

    def _controller(self) -> ChildSpec:
        """The controller; ends by itself without us and leaves its arms to the next."""

        def launch() -> Launch:
            environment = self.leash.environment()
            if self.mock_url is not None:
                environment["FAIRWAY_MOCK_LLM_URL"] = self.mock_url
            return Launch(
                command=self._command("fairway.controller", "--project", str(self._project.root)),
                environment=environment,
                pass_fds=(self.leash.read_fd,),
            )

        return ChildSpec(
            name=CONTROLLER,
            launch=launch,
            cwd=self._project.root,
            log=self._log(CONTROLLER),
            ready=lambda: _responds(self._state.socket(CONTROLLER)),
            alive=lambda: _responds(self._state.socket(CONTROLLER)),
            grace=self._project.service.drain + _MARGIN_SECONDS,
            fingerprint=__version__,
            say_goodbye=False,
        )

    def _live(self) -> ChildSpec:
        """What listens to samples of live traffic, and scores them; ends by itself without us."""

        def launch() -> Launch:
            environment = self.leash.environment()
            if self.mock_url is not None:
                environment["FAIRWAY_MOCK_LLM_URL"] = self.mock_url
            command = self._command("fairway.supervise.live_process", "--project", str(self._project.root))
            return Launch(command=command, environment=environment, pass_fds=(self.leash.read_fd,))

        return ChildSpec(
            name=LIVE,
            launch=launch,
            cwd=self._project.root,
            log=self._log(LIVE),
            ready=lambda: _beats(self._state.root / STATUS),
            fingerprint=__version__,
            say_goodbye=False,
        )

    def _mock(self, port: int) -> ChildSpec:
        """The mock model; stands for a provider, so it lives on without us as a provider would."""
        command = self._command("fairway", "mock-llm", "--scenario", str(self._scenario), "--port", str(port))
        scenario = hashlib.sha256(self._scenario.read_bytes()).hexdigest()[:16]
        return ChildSpec(
            name=MOCK,
            launch=lambda: Launch(command=command),
            cwd=self._project.root,
            log=self._log(MOCK),
            ready=lambda: _accepts(port),
            url=lambda: f"http://{LOOPBACK}:{port}/v1",
            fingerprint=f"{__version__} {port} {scenario}",
            takeover=Takeover.ADOPT,
        )


def _left_port(left: UpInfo | None, name: str, url: str | None) -> int | None:
    """The port that a child which outlived its supervisor still has."""
    child = left.children.get(name) if left is not None else None
    return urlsplit(url).port if child is not None and child.alive() and url else None


async def _answers(port: int, path: str) -> bool:
    """Whether a GET on loopback gives 200."""
    try:
        return (await fetch(LOOPBACK, port, path, timeout=_READY_SECONDS)).status == _HTTP_OK
    except ProbeError:
        return False


async def _says_anything(port: int, path: str) -> bool:
    """Whether a GET on loopback gives any HTTP answer."""
    try:
        await fetch(LOOPBACK, port, path, timeout=_ALIVE_SECONDS)
    except ProbeError:
        return False
    return True


async def _responds(path: Path) -> bool:
    """Whether somebody answers on a unix socket, whatever it says: a connection alone a hung process takes too."""
    client = LocalClient(path)
    try:
        await client.ask("GET", "/healthz", within=_ALIVE_SECONDS)
    except TransientError:
        return False
    finally:
        client.close()
    return True


async def _beats(path: Path) -> bool:
    """Whether whoever writes the file did so a moment ago."""
    return time.time() - _last_beat(path) < _ALIVE_SECONDS


def _last_beat(path: Path) -> float:
    try:
        return float(json.loads(path.read_bytes())["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


async def _accepts(port: int) -> bool:
    """Whether somebody accepts on a loopback port."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
