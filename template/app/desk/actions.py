"""What the buttons and forms of the desk's widgets do. Yours.

A handler is found by its action's type and gets the payload as a model. One of `on` is called only
for an action that a widget of the person's own thread offers now, one of `from_page` for an action
that the page around the conversation sends.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from chatkit.types import ThreadStreamEvent
from chatkit.widgets import WidgetRoot
from pydantic import BaseModel, StringConstraints

from ..core.production import ActionContext, Actions, Explain, PageActionContext
from ..widgets import ProblemForm
from .orders import card_of, find

actions = Actions()


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Chosen(BaseModel):
    order: int


class Watch(Chosen):
    watched: bool


class Problem(Chosen):
    kind: Annotated[
        Literal["damaged", "missing", "other"], Explain("Please choose what kind of problem it is.")
    ]
    text: Annotated[Line, Explain("Please write what is wrong.")]


class Note(BaseModel):
    text: Annotated[Line, Explain("Please write a note of at most 500 characters.")]


@actions.on("order.open", Chosen)
async def open_order(acting: ActionContext, chosen: Chosen) -> AsyncIterator[ThreadStreamEvent]:
    """A card below for the line that was clicked."""
    yield acting.add_widget(card_of(find(acting.context, chosen.order)))


@actions.on("order.refresh", Chosen)
async def refresh(acting: ActionContext, chosen: Chosen) -> WidgetRoot:
    """The card as it is now, in the place of the old one."""
    return card_of(find(acting.context, chosen.order))


@actions.on("order.watch", Watch)
async def watch(acting: ActionContext, given: Watch) -> WidgetRoot:
    order = find(acting.context, given.order)
    order.watched = given.watched
    return card_of(order)


@actions.on("problem.send", Problem)
async def send_problem(acting: ActionContext, problem: Problem) -> AsyncIterator[ThreadStreamEvent]:
    order = find(acting.context, problem.order)
    order.note = f"{problem.kind}: {problem.text}"
    sent = f"Thank you. We know of it: {order.note}"
    yield acting.replace_widget(
        ProblemForm(number=order.number, title=order.title, sent=sent).build()
    )
    yield acting.add_hidden(
        f"The customer reported a problem with order {order.number}, {order.note}"
    )


@actions.on("problem.close", Chosen)
async def close_problem(acting: ActionContext, chosen: Chosen) -> WidgetRoot:
    title = find(acting.context, chosen.order).title
    return ProblemForm(number=chosen.order, title=title, sent="Nothing was sent.").build()


@actions.from_page("note", Note)
async def note(acting: PageActionContext, given: Note) -> AsyncIterator[ThreadStreamEvent]:
    """What the customer writes into a field of the shop's page, for the assistant to know."""
    yield acting.add_hidden(f"The customer noted on the page: {given.text}")
