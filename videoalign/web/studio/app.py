"""The web application of a studio: one page, and what it asks."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from videoalign import __version__
from videoalign.errors import VideoError
from videoalign.video.files import encode_video
from videoalign.video.limits import ClipLimits
from videoalign.web.edge import add_edges
from videoalign.web.guarding import is_from_elsewhere
from videoalign.web.pages import environment, static_files
from videoalign.web.refusals import Refusal, refusal_of
from videoalign.web.studio import questions
from videoalign.web.studio.cache import Cache, made_in
from videoalign.web.studio.comparing import comparison, pair_plan
from videoalign.web.studio.grid import Grid
from videoalign.web.studio.jobs import Job, Queue
from videoalign.web.studio.opening import Opened
from videoalign.web.studio.recipe import Asked, AskedGrid, Recipe
from videoalign.web.studio.visitors import Visitor, Visitors

HERE = Path(__file__).parent
WAY_IN = "/join/"
"""What follows it in a path lets somebody in."""
templates = Jinja2Templates(env=environment(HERE))
router = APIRouter()


class Studio:
    """What the requests share."""

    def __init__(self, opened: Opened, cache: Cache, tokens: Sequence[bytes] = ()) -> None:
        self.opened, self.cache, self.tokens = opened, cache, tuple(tokens)
        self.queue = Queue(opened, cache)
        self.visitors = Visitors(opened.settings.max_visitors)
        self.cookie = f"videoalign_studio_{secrets.token_hex(4)}"  # cookies know no ports

    def shown(self, visitor: Visitor, recipes: Sequence[Recipe]) -> dict[str, Any]:
        """A comparison; the visitor may look at its clips from now on."""

        def find(recipe: Recipe) -> Any:
            key = self.opened.key(recipe)
            if (made := self.cache.get(key)) is not None:
                visitor.keys.add(key)
            return made

        return comparison(self.opened, recipes, find)


def build_studio(studio: Studio, hosts: Sequence[str] = ("*",)) -> FastAPI:
    """An application for whoever steers; its thread runs while it is up.

    Args:
        studio: what it shows and makes.
        hosts: names that requests may be addressed to; ``*`` stands for any.

    Raises:
        ConfigError: the access log cannot be written.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        studio.queue.start()
        yield
        studio.queue.stop()

    app = FastAPI(
        title="videoalign studio",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(require_own_page)],
    )
    app.state.studio = studio
    failed = "the studio failed; its log says why."
    add_edges(app, studio.opened.settings, failed=failed, hosts=hosts, secret=WAY_IN)
    app.include_router(router)
    app.mount("/static", static_files(HERE), name="static")
    return app


async def require_own_page(request: Request) -> None:
    """Checks that no page of another site sends this.

    Raises:
        Refusal: it comes from another site.
    """
    if is_from_elsewhere(request):
        raise Refusal(403, "cross_site", "this request comes from another site.")


async def studio_of(request: Request) -> Studio:
    """The studio of the application."""
    studio: Studio = request.app.state.studio
    return studio


InStudio = Annotated[Studio, Depends(studio_of)]


async def require_session(request: Request, studio: InStudio) -> Visitor:
    """Whoever asks.

    Raises:
        Refusal: nobody who opened the page.
    """
    visitor = studio.visitors.find(request.cookies.get(studio.cookie))
    if visitor is None:
        raise Refusal(401, "no_session", "this page is too old; load it again.")
    return visitor


AnyVisitor = Annotated[Visitor, Depends(require_session)]


@router.get("/")
async def page(request: Request, studio: InStudio) -> Response:
    """The page; where no token is asked for, whoever opens it is let in."""
    visitor = studio.visitors.find(request.cookies.get(studio.cookie))
    if visitor is None and studio.tokens:
        raise Refusal(401, "no_session", "open the link that the studio printed when it was started.")
    response = templates.TemplateResponse(request, "studio.html.jinja", {"root": "", "programme": "videoalign studio"})
    if visitor is None:
        _let_in(request, studio, response)
    return response


@router.get(WAY_IN + "{token}")
async def join(request: Request, studio: InStudio, token: str) -> Response:
    """Lets somebody in who has a token."""
    known = [secrets.compare_digest(token.encode(), one) for one in studio.tokens]
    if not any(known):
        raise Refusal(401, "unauthorized", "this link is wrong; take the one that the studio printed.")
    response = RedirectResponse("/", status_code=303)
    if studio.visitors.find(request.cookies.get(studio.cookie)) is None:
        _let_in(request, studio, response)
    return response


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the studio runs."""
    return {"status": "ready", "version": __version__}


@router.get("/api/about")
def about(studio: InStudio, _: AnyVisitor) -> dict[str, Any]:
    """What the studio has."""
    return questions.about(studio.opened)


@router.post("/api/compare")
def compare(studio: InStudio, visitor: AnyVisitor, asked: Asked) -> dict[str, Any]:
    """The clips, if they are there, and otherwise, where that is wanted, the job that makes them."""
    questions.require_possible(studio.opened, asked)
    recipes = asked.recipes()
    found = studio.shown(visitor, recipes)
    if found["is_whole"] or not asked.make:
        return {"comparison": found, "job": None}
    plan = pair_plan(recipes)
    job = Job("comparison", iter(plan), len(plan), {}, recipes=recipes)
    visitor.add(job, studio.opened.settings.max_jobs)
    studio.queue.put(job)
    return {"comparison": found, "job": _state(studio, visitor, job)}


@router.post("/api/grid")
def grid(studio: InStudio, visitor: AnyVisitor, asked: AskedGrid) -> dict[str, Any]:
    """Begins a grid over weights."""
    questions.require_possible(studio.opened, asked)
    most = studio.opened.settings.max_points
    if asked.num_points > most:
        raise Refusal(413, "too_large", f"num_points: got {asked.num_points}, at most {most} are taken (max_points).")
    grid = Grid(studio.opened, asked)
    job = Job("grid", grid.plan(), grid.total, grid.made, grid=grid)
    visitor.add(job, studio.opened.settings.max_jobs)
    studio.queue.put(job)
    return {"job": _state(studio, visitor, job)}


@router.get("/api/jobs")
def jobs(studio: InStudio, visitor: AnyVisitor) -> dict[str, Any]:
    """All jobs of whoever asks."""
    return {"jobs": [_state(studio, visitor, job) for job in list(visitor.jobs.values())]}


@router.get("/api/jobs/{id}")
def job(studio: InStudio, visitor: AnyVisitor, id: str) -> dict[str, Any]:
    """How far a job is, and what it has made."""
    return _state(studio, visitor, visitor.job(id))


@router.post("/api/jobs/{id}/cancel")
def cancel(studio: InStudio, visitor: AnyVisitor, id: str) -> dict[str, Any]:
    """Gives a job up."""
    visitor.job(id).cancel()
    return _state(studio, visitor, visitor.job(id))


@router.get("/api/jobs/{id}/preview.mp4")
def preview(visitor: AnyVisitor, id: str) -> Response:
    """The clip that is being made, as far as it is."""
    number, content = visitor.job(id).shown
    if not number:
        raise Refusal(404, "no_clip", "there is nothing to look at yet.")
    return Response(content, media_type="video/mp4")


@router.get("/api/jobs/{id}/grid.mp4")
def sheet(studio: InStudio, visitor: AnyVisitor, id: str) -> Response:
    """A grid as one clip with labels."""
    grid = visitor.job(id).about.get("grid")
    video = None if grid is None else grid.sheet(studio.cache)
    if video is None:
        raise Refusal(404, "no_clip", "nothing of this grid is there; make it again.")
    headers = {"content-disposition": 'attachment; filename="grid.mp4"'}
    return Response(encode_video(video), media_type="video/mp4", headers=headers)


@router.get("/clips/{key}.mp4")
def clip(studio: InStudio, visitor: AnyVisitor, key: str) -> Response:
    """A clip that whoever asks has asked for."""
    path = studio.cache.path(key) if key in visitor.keys else None
    if path is None or not path.is_file():
        raise Refusal(404, "no_clip", "there is no such clip of yours; make it again.")
    headers = {"cache-control": "private, max-age=3600", "content-disposition": f'inline; filename="{key}.mp4"'}
    return FileResponse(path, media_type="video/mp4", headers=headers)


@router.post("/api/dropped")
async def dropped(request: Request, studio: InStudio, _: AnyVisitor) -> dict[str, Any]:
    """What a clip's file says of how it was made."""
    try:
        made = made_in(await request.body(), ClipLimits())
    except VideoError as error:
        raise refusal_of(error) from None
    if made is None:
        reason = "this clip says nothing of how it was made; drop one that this studio made."
        raise Refusal(422, "no_settings", reason)
    return questions.settings_of(studio.opened, made)


def _let_in(request: Request, studio: Studio, response: Response) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(studio.cookie, studio.visitors.welcome(), httponly=True, samesite="strict", secure=secure)


def _state(studio: Studio, visitor: Visitor, job: Job) -> dict[str, Any]:
    """A job as its owner sees it."""
    state = job.snapshot()
    state["before"] = studio.queue.before(job) if job.state == "waiting" else 0
    if job.kind == "grid":
        grid: Grid = job.about["grid"]
        visitor.keys.update(grid.made)
        return {**state, "grid": {"asked": grid.asked.model_dump(mode="json"), "points": grid.points()}}
    recipes: list[Recipe] = job.about["recipes"]
    settings = {**recipes[0].model_dump(mode="json"), "seed": ", ".join(str(recipe.seed) for recipe in recipes)}
    return {**state, "settings": settings, "comparison": studio.shown(visitor, recipes)}
