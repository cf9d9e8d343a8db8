"""The HTTP surface: POST /chatkit, GET /health, GET /ready."""

from chatkit.server import StreamingResult
from chatkit.store import NotFoundError
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ..auth import authenticate
from ..errors import ApiError, error_response
from ..log_context import log_context
from .middleware import check_headers
from .streaming import EventStream, ResponseTask

router = APIRouter()


@router.post("/chatkit")
async def chatkit(request: Request) -> Response:
    """One ChatKit request: JSON, or server-sent events for those that make the assistant speak."""
    try:
        response = await answer(request)
    except Exception as error:
        response = error_response(error)
    if cookie := getattr(request.state, "set_cookie", None):
        response.headers.append("set-cookie", cookie)
    return response


async def answer(request: Request) -> Response:
    state = request.app.state
    check_headers(request, state.settings.allowed_origins)
    context = await authenticate(request)
    log_context().update(owner="/".join(filter(None, context.owner)))
    await state.rate_limit.count(context)
    result = await state.server.process(await request.body(), context)
    if not isinstance(result, StreamingResult):
        return Response(result.json, media_type="application/json")
    turn = ResponseTask(result.json_events)
    state.turns.add(turn)
    turn.task.add_done_callback(lambda _: state.turns.discard(turn))
    try:
        if not await turn.first():  # the SDK says nothing when the message to retry is missing
            raise NotFoundError
    except BaseException:
        turn.stop()
        raise
    return EventStream(turn, state.settings.stream_heartbeat)


@router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> JSONResponse:
    """People can be known and the store used: what a load balancer asks before it sends any."""
    state = request.app.state
    if reason := await state.auth.ready() or await state.server.ready():
        return error_response(ApiError(503, "not_ready", reason))
    return JSONResponse({"status": "ready"})
