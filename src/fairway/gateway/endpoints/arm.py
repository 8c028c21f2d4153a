"""The endpoints of one release as one worker uses them: who is next, how many requests at once, who is left out.

They outlive the tables that name the release, so that a table switch forgets neither a connection, nor who waits for
one, nor how an endpoint has fared. A place is a connection that is open or being opened: as a connection has one
request at a time, a bound on places is a bound on requests, and a request that takes an idle connection is within it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import random
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from fairway.gateway.endpoints.budget import RetryBudget
from fairway.gateway.endpoints.checking import ask
from fairway.gateway.endpoints.ejection import WINDOW_SECONDS, Standing, Why, finding, room_for_one
from fairway.gateway.endpoints.line import Turn, WaitingLine
from fairway.gateway.upstream import DOWN_SECONDS, IDLE_SECONDS, Pool, Upstream
from fairway.traffic.endpoints import DEFAULT_EJECTION, Ejection

if TYPE_CHECKING:
    from fairway.traffic.table import Limits
    from fairway.units import Digest

ASK_SECONDS = 2.0
"""How long an endpoint that is left out may take to show that it is back."""


class ArmEndpoints:
    """One release's endpoints.

    Attributes:
        release: Whose they are.
        pools: By endpoint, those the table in force names.
        rotation: Those of them that take requests, in turn.
        trial: One that has been ejected and is to get the next request, alone.
        places: Connections open or being opened, to endpoints the table names.
        limit: How many places there are.
        line: Requests that wait for one.
        retries: How often requests may be sent anew.
        retired: The table has the release no more.
        ejections: By why, since the worker began.
        names_itself: One of its answers has said which release it is.
    """

    __slots__ = (
        "_any", "_asking", "_loop", "_next", "_path", "_policy", "_strict", "_turn", "_watched_until", "ejections",
        "limit", "line", "names_itself", "places", "pools", "release", "retired", "retries", "rotation", "trial",
    )  # fmt: skip

    def __init__(self, release: Digest, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without endpoints."""
        self.release = release
        self.pools: dict[str, Pool] = {}
        self.rotation: list[Pool] = []
        self.trial: Pool | None = None
        self.places = 0
        self.limit = 0
        self.line = WaitingLine(self._given_back)
        self.retries = RetryBudget()
        self.retired = False
        self.ejections: dict[Why, int] = {}
        self.names_itself = False
        self._any: Pool | None = None
        self._loop = loop
        self._next: Pool | None = None
        """Whose turn it was when it had no idle connection."""
        self._turn = 0
        self._policy = DEFAULT_EJECTION
        self._strict = False
        self._asking: dict[Pool, asyncio.Task[None]] = {}
        self._path = "/"
        """Asked of an endpoint that answered for another release."""
        self._watched_until = 0.0

    # --- what the table says -----------------------------------------------------------------------------------

    def follow(self, endpoints: tuple[str, ...], limits: Limits, policy: Ejection, path: str = "/") -> None:
        """Put what a table says of the arm in force; ``path``: where an endpoint says which release it is."""
        self._path = path
        before, self.pools = self.pools, {}
        for endpoint in dict.fromkeys(endpoints):
            known = before.pop(endpoint) if endpoint in before else None
            self.pools[endpoint] = Pool(endpoint, self, self._loop) if known is None else known
        for gone in before.values():
            gone.retire()
        self._policy = policy
        self.limit = limits.arm_in_flight
        self.line.places, self.line.seconds = limits.queue, limits.queue_wait
        self.retries.resize(limits.arm_in_flight)
        self._settle()
        self._grant()

    def retire(self) -> None:
        """The release left the table: what runs, and what waits for it, still ends on it."""
        self.retired = True
        for task in tuple(self._asking.values()):
            task.cancel()
        for pool in self.pools.values():
            pool.retire()

    def _settle(self) -> None:
        """Find who takes requests, and let the connections of those who do not go."""
        now = monotonic()
        pools = list(self.pools.values())
        fit = [pool for pool in pools if not pool.record.wrong]
        able = [pool for pool in fit if pool.record.standing is Standing.IN]
        self.rotation = [pool for pool in able if pool.down_until <= now] or able or fit
        if pools:
            self._any = pools[0]
        if self.trial is not None and self.trial not in pools:
            self.trial = None
        self._strict = strict = bool(self.line) or now < self._watched_until
        for pool in pools:
            standing = pool.record.standing
            pool.barred = standing in (Standing.OUT, Standing.WRONG) and pool not in self.rotation
            pool.unusual = strict or standing is not Standing.IN or pool.retired
        for pool in pools:  # closing one may give somebody a turn, which settles anew
            if pool.barred:
                pool.sweep(0.0)

    # --- who is next -------------------------------------------------------------------------------------------

    def turn(self) -> Pool:
        """Who gets the next request: the less loaded of one in turn and one by chance.

        Two choices are nearly as even as to compare all, and several workers do not all choose the same one.
        """
        trial = self.trial
        if trial is not None:
            self.trial = None
            return trial
        rotation = self.rotation
        count = len(rotation)
        if not count:
            assert self._any is not None  # requests are only placed on an arm that has had endpoints
            return self._any
        self._turn = turn = (self._turn + 1) % count
        pool = rotation[turn]
        load = pool.open - len(pool.idle)
        if load and count > 1:
            other = rotation[(turn + 1 + int(random() * (count - 1))) % count]  # noqa: S311 - evens out, no secret
            if other.open - len(other.idle) < load:
                pool = other
        if not pool.idle:
            self._next = pool  # the short way ends here: the general one goes on with the same
        return pool

    def take(self, now: float) -> Upstream | None:
        """An idle connection: of who is next, or of any once no more may be opened; ``now`` in ``perf_counter()``."""
        pool = self._next or self.turn()
        self._next = None
        upstream = pool.get(now) if pool in self.rotation or pool.record.standing is Standing.TRIAL else None
        if upstream is None and self.places >= self.limit:
            upstream = next((found for other in self.rotation if (found := other.get(now))), None)
            if upstream is not None and self.crowded(upstream.pool):
                upstream.close()  # its place is for a connection to an endpoint that has fewer
                return None
        return upstream

    def crowded(self, pool: Pool) -> bool:
        """Whether another endpoint has so many fewer connections that one is better opened there.

        Once all places are taken, an endpoint that has just come would get no connection else.
        """
        return any(other.open + 1 < pool.open for other in self.rotation)

    def order(self, last: Pool | None = None) -> list[Pool]:
        """Endpoints to open a connection to, one after the other, the least loaded first.

        Then those who just refused, and those left out: to knock there costs nothing, and an endpoint that opens may be
        back while the others are gone. At the very end ``last``; never one that answered for another release.
        """
        if len(self.pools) < 2 and self.rotation:
            return self.rotation
        now = monotonic()
        return sorted(
            (pool for pool in self.pools.values() if not pool.record.wrong),
            key=lambda pool: (
                pool is last,
                pool not in self.rotation and pool.record.standing is not Standing.IN,
                pool.down_until > now,
                pool.open - len(pool.idle),
                len(pool.idle),
                random(),  # noqa: S311 - evens out, no secret
            ),
        )

    def reached(self, pool: Pool) -> None:
        """A connection was opened for a request; to an endpoint that is left out, that request is its trial."""
        if pool.record.standing is Standing.OUT:
            pool.record.standing = Standing.TRIAL
            self._settle()

    # --- how many at once --------------------------------------------------------------------------------------

    async def place(self) -> Upstream | Turn:
        """A connection that is handed over, or a place to open one with, once it is this request's turn."""
        if self.places < self.limit:
            self.places += 1
            return Turn.MAY_OPEN
        mine = self.line.join()
        if mine is None:
            return Turn.FULL
        if not self._strict:
            self._settle()
        try:
            return await self.line.wait(mine)
        finally:
            self.line_moved()

    def leave(self) -> None:
        """A place is free: whoever waits longest may have it."""
        self.places -= 1
        self._grant()

    def line_moved(self) -> None:
        """Somebody had a turn or gave up: when nobody waits any more, connections are simply kept again."""
        if self._strict and not self.line:
            self._settle()

    def _grant(self) -> None:
        while self.line and self.places < self.limit:
            self.places += 1
            if not self.line.hand(None):
                self.places -= 1
                break
        self.line_moved()

    def _given_back(self, handed: Upstream | None) -> None:
        """What was handed to a request that is not there any more goes to the next."""
        if handed is None:
            self.leave()
        elif not handed.closed:
            handed.pool.offer(handed)

    # --- how they fare -----------------------------------------------------------------------------------------

    def answered(self, pool: Pool, *, bad: bool) -> None:
        """A request ended with a whole answer: a ``bad`` one, or a good one while that is looked at."""
        record, now = pool.record, monotonic()
        if not bad and (record.standing is Standing.TRIAL or (record.standing is Standing.OUT and not pool.barred)):
            record.come_back(now)
            self._settle()
            return
        record.note(now, bad=bad)
        if bad:
            self._judge(pool, now)

    def broke(self, pool: Pool) -> None:
        """A request was reset or not answered in time."""
        now = monotonic()
        pool.record.note(now, bad=True, broken=True)
        self._judge(pool, now)

    def refused(self, pool: Pool) -> None:
        """An endpoint accepted no connection: for a moment the others are asked first, without a finding."""
        pool.down_until = monotonic() + DOWN_SECONDS
        pool.verified = False  # whoever listens there next has to say it anew
        self.broke(pool)
        if pool in self.rotation and len(self.rotation) > 1:
            self._settle()

    def named(self, pool: Pool) -> None:
        """An answer of it said that it is the release's."""
        pool.verified = self.names_itself = True

    def wrong(self, pool: Pool) -> None:
        """It answered for another release: nothing more goes there until it names its own, however few are left."""
        if pool.record.standing is not Standing.WRONG:
            pool.record.wrong = True
            self._eject(pool, monotonic(), Why.WRONG)

    def _judge(self, pool: Pool, now: float) -> None:
        record = pool.record
        if self.pools.get(pool.endpoint) is not pool:
            return
        if record.standing is Standing.TRIAL:
            self._eject(pool, now, Why.TRIAL)
        elif record.standing is Standing.IN and len(self.pools) > 1 and self._policy.share:
            others = [other.record for other in self.pools.values() if other is not pool]
            out = sum(other.standing is not Standing.IN for other in others)
            why = finding(record, others, self._policy, now)
            if why is not None and room_for_one(len(self.pools), out, self._policy):
                self._eject(pool, now, why)
                return
            self._watched_until = now + WINDOW_SECONDS
            if not self._strict:
                self._settle()

    def _eject(self, pool: Pool, now: float, why: Why) -> None:
        """What runs on it goes on; nothing new goes there."""
        record = pool.record
        record.eject(self._policy, now, Standing.WRONG if record.wrong else Standing.OUT)
        self.ejections[why] = self.ejections.get(why, 0) + 1
        if self.trial is pool:
            self.trial = None
        self._settle()

    def told(self) -> dict[str, Any]:
        """What the parent is told; counts since the worker began."""
        return {
            "waiting": len(self.line),
            "retries": self.retries.spent,
            "turned_away": {turn.value: count for turn, count in self.line.turned_away.items()},
            "ejections": {why.value: count for why, count in self.ejections.items()},
            "endpoints": {
                pool.endpoint: {
                    "state": pool.record.standing.value,
                    "busy": pool.open - len(pool.idle),
                    "open": pool.open,
                    "verified": pool.verified,
                }
                for pool in self.pools.values()
            },
        }

    def sweep(self) -> None:
        """Called about once a second: end what has lasted long enough."""
        now = monotonic()
        if self._strict and not self.line and now >= self._watched_until:
            self._settle()
        for pool in self.pools.values():
            record = pool.record
            if record.standing is Standing.IN and pool not in self.rotation and now >= pool.down_until:
                self._settle()
            if record.standing is Standing.OUT and now >= record.until:
                record.standing = Standing.TRIAL
                self._settle()
            pool.sweep(IDLE_SECONDS)
            if record.standing is Standing.WRONG:
                self._begin(pool, self._prove)
            elif record.standing is Standing.TRIAL and pool.open <= len(pool.idle):
                if pool.idle:
                    self.trial = pool
                else:
                    self._begin(pool, self._knock)

    def _begin(self, pool: Pool, attempt: Callable[[Pool], Coroutine[Any, Any, None]]) -> None:
        """Ask after an endpoint, once at a time."""
        if pool not in self._asking:
            task = asyncio.ensure_future(attempt(pool))
            self._asking[pool] = task
            task.add_done_callback(lambda _: self._asking.pop(pool, None))

    async def _knock(self, pool: Pool) -> None:
        """Let an ejected endpoint show that it is back: by a connection of ours, then by one request."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                upstream = await pool.connect()
        except (OSError, TimeoutError):
            if pool.record.standing is Standing.TRIAL:
                self._eject(pool, monotonic(), Why.TRIAL)
            return
        upstream.idle_since = perf_counter()
        pool.offer(upstream)
        if pool.record.standing is Standing.TRIAL and pool.idle:
            self.trial = pool

    async def _prove(self, pool: Pool) -> None:
        """Ask an endpoint that answered for another release which one it is: nobody's request is risked for that."""
        answered = await ask(pool.endpoint, self._path, ASK_SECONDS, method="HEAD" if self._path == "/" else "GET")
        serves = answered.serves(self.release)
        back = serves or (serves is None and not self.names_itself)  # the silence of one that does say is another's
        if answered.status and back and pool.record.standing is Standing.WRONG:
            pool.verified = bool(serves)
            pool.record.come_back(monotonic())
            self._settle()
