"""The orders of the desk, a few for each person, in place of your shop's database. Yours.

They are in this process's memory: another process, and a restart, begin anew.
"""

import random
from typing import Literal
from urllib.parse import quote

from chatkit.widgets import WidgetRoot
from pydantic import BaseModel

from ..core import RequestContext
from ..core.agent import ToolError
from ..widgets import OrderCard

GOODS = {"Tea": 9.5, "Lamp": 59.0, "Coat": 89.0, "Globe": 75.0, "Kite": 24.0}
PICTURES = {"Tea": "🍵", "Lamp": "💡", "Coat": "🧥", "Globe": "🌍", "Kite": "🪁"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20"><text y="16">{}</text></svg>'


class Order(BaseModel):
    number: int
    title: str
    price: float  # EUR
    image: str
    month: str
    status: Literal["open", "shipped", "cancelled"] = "shipped"
    watched: bool = False
    note: str = ""


_orders: dict[tuple[str, str], list[Order]] = {}


def orders_of(person: RequestContext) -> list[Order]:
    """The orders of the person and of nobody else: 1001, which is open, 1002 and 1003."""
    if person.owner not in _orders:
        goods = random.Random(repr(person.owner)).sample(sorted(GOODS), 3)
        months = ("October", "September", "August")
        # An example needs no database; your shop's orders are in one.
        _orders[person.owner] = [  # not a mistake
            Order(number=n, title=t, price=GOODS[t], image=picture_of(t), month=m)
            for n, t, m in zip((1001, 1002, 1003), goods, months, strict=True)
        ]
        _orders[person.owner][0].status = "open"
    return _orders[person.owner]


def picture_of(title: str) -> str:
    return f"data:image/svg+xml,{quote(SVG.format(PICTURES[title]))}"


def find(person: RequestContext, number: int) -> Order:
    """The person's order. Raises ToolError, whose words the model may pass on."""
    known = {order.number: order for order in orders_of(person)}
    if number not in known:
        raise ToolError(f"You have no order {number}, but {', '.join(map(str, known))}.")
    return known[number]


def card_of(order: Order) -> WidgetRoot:
    return OrderCard(**order.model_dump(exclude={"month"})).build()
