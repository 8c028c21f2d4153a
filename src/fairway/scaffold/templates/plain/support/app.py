"""The service: a chat, plain and streamed, and what a deployment asks of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from support.agent import Agent, Turn
from support.bundle import Bundle, load_bundle
from support.memory import Memory
from support.model import Model
from support.shop import open_shop
from support.tools import Toolbox

MAX_MESSAGE = 10_000  # characters


class ChatRequest(BaseModel):
    """One message; without ``thread_id`` the header ``x-conversation-id`` says which conversation, else it is new."""

    message: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE)]
    thread_id: Annotated[str | None, Field(max_length=200)] = None


class FeedbackRequest(BaseModel):
    """What the user says of a conversation: 1 is a thumb up, 0 is one down."""

    rating: Annotated[float, Field(ge=0, le=1)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Build the agent when the process starts: a bundle that cannot be served stops it here, with the reason."""
    bundle = load_bundle()
    logging.basicConfig(level=bundle.log_level, format="%(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line a model call is too much
    model = Model(bundle.model)
    # A mocked shop is a fresh one in memory; a real one is the database of SHOP_DATABASE, when it is set.
    mocked = any(tool.mock for tool in bundle.tools) or os.environ.get("FAIRWAY_SHADOW") == "1"
    shop = open_shop(":memory:" if mocked else os.environ.get("SHOP_DATABASE", ":memory:"))
    app.state.bundle = bundle
    app.state.agent = Agent(
        system_prompt=bundle.system_prompt, model=model, tools=Toolbox(bundle.tools, shop), memory=Memory()
    )
    # Copies of other users' requests, shown to this release before anybody meets it: they must change nothing.
    replay = open_shop(":memory:")
    tools = Toolbox(bundle.tools, replay, replay=True)
    app.state.shadow = Agent(system_prompt=bundle.system_prompt, model=model, tools=tools, memory=Memory())
    try:
        yield
    finally:
        await model.close()
        shop.close()
        replay.close()


class SaysItsRelease:
    """Every answer says which release gave it, so that the gateway passes on no other one's under this name."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                release: str = scope["app"].state.bundle.release
                if release != "dev":
                    message["headers"] = [*message["headers"], (b"fairway-release", release.encode())]
            await send(message)

        await self.app(scope, receive, say if scope["type"] == "http" else send)


app = FastAPI(title="support", lifespan=lifespan)
app.add_middleware(SaysItsRelease)
Conversation = Annotated[str | None, Header(alias="x-conversation-id")]


def _agent(request: Request) -> Agent:
    """Who answers: mirrored requests have an agent of their own, whose tools reach nothing real."""
    state = request.app.state
    agent: Agent = state.shadow if _mirrored(request) else state.agent
    return agent


def _mirrored(request: Request) -> bool:
    """Whether it is a copy of a user's request; the header is set by the gateway alone."""
    return request.headers.get("x-fairway-shadow") == "1"


@app.post("/chat")
async def chat(body: ChatRequest, request: Request, conversation: Conversation = None) -> JSONResponse:
    """Answer one message."""
    thread_id = body.thread_id or conversation or uuid.uuid4().hex
    state = request.app.state
    turn = await _agent(request).answer(thread_id, body.message)
    headers = {"Fairway-Outcome": turn.outcome(state.bundle.model.model)}
    return JSONResponse(_answer(turn, thread_id), status_code=503 if turn.provider_down else 200, headers=headers)


@app.post("/chat/stream")
async def chat_stream(body: ChatRequest, request: Request, conversation: Conversation = None) -> StreamingResponse:
    """Answer one message as it is written: events ``{mode, payload}``, the whole answer last."""
    thread_id = body.thread_id or conversation or uuid.uuid4().hex
    events = _events(_agent(request), request.app.state.bundle, thread_id, body.message)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(agent: Agent, bundle: Bundle, thread_id: str, message: str) -> AsyncIterator[str]:
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    task = asyncio.create_task(agent.answer(thread_id, message, pieces.put_nowait))
    task.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            yield _event({"mode": "messages", "payload": {"text": piece}})
        turn = await task
        # The outcome is a comment inside the last event: a comment of its own would break a popular client.
        comment = f": fairway-outcome {turn.outcome(bundle.model.model)}\n"
        yield comment + _event({"mode": "values", "payload": _answer(turn, thread_id)})
    finally:
        task.cancel()  # the client left: stop spending tokens


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _answer(turn: Turn, thread_id: str) -> dict[str, Any]:
    tools = [{"name": use.name, "arguments": use.arguments, "ok": use.ok} for use in turn.tools]
    return {"response": turn.response, "thread_id": thread_id, "tools": tools}


@app.post("/feedback")
async def feedback(body: FeedbackRequest, request: Request) -> JSONResponse:
    """Note what the user says; the header ``x-conversation-id`` takes it to the release that served it."""
    said = f"status=ok, feedback={body.rating:.6f}" + (", shadow=1" if _mirrored(request) else "")
    return JSONResponse({"status": "noted"}, headers={"Fairway-Outcome": said})


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


@app.get("/readiness")
async def readiness(request: Request) -> dict[str, str]:
    """It can serve, and what it serves. Never calls the model: being asked costs nothing."""
    bundle: Bundle = request.app.state.bundle
    return {
        "status": "ready",
        "release": bundle.release,
        "effective": bundle.effective,
        "prompt": bundle.prompt_version,
        "model": bundle.model.model,
        "environment": bundle.environment,
    }
