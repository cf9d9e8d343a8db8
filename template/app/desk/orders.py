"""The orders of the desk, a few for each person, in place of your shop's database. Yours.

They are in this process's memory: another one, and a restart, begin anew.
"""

import random
from dataclasses import dataclass
from typing import Literal

from ..context import RequestContext
from ..failures import ToolError

Status = Literal["open", "shipped", "cancelled"]
GOODS = {"Tea pot": 34.5, "Desk lamp": 59.0, "Rain coat": 89.0, "Coffee mill": 42.0, "Globe": 75.0}
IMAGE = "https://picsum.photos/seed/{}/128"


@dataclass
class Order:
    number: int
    title: str
    price: float
    month: str
    status: Status
    watched: bool = False
    note: str = ""

    @property
    def image(self) -> str:
        return IMAGE.format(self.title.replace(" ", "-").lower())


_orders: dict[tuple[str, str], dict[int, Order]] = {}


def orders_of(person: RequestContext) -> dict[int, Order]:
    """The orders of the person, and of nobody else, by number: 1001 is open, 1002 shipped."""
    if person.owner not in _orders:
        goods = random.Random(repr(person.owner)).sample(sorted(GOODS), 3)
        made = zip((1001, 1002, 1003), goods, ("October", "September", "August"), strict=True)
        _orders[person.owner] = {
            number: Order(
                number, title, GOODS[title], month, "open" if number == 1001 else "shipped"
            )
            for number, title, month in made
        }
    return _orders[person.owner]


def find(person: RequestContext, number: int) -> Order:
    """The person's order. Raises ToolError, which the model can pass on."""
    if order := orders_of(person).get(number):
        return order
    known = ", ".join(map(str, orders_of(person)))
    raise ToolError(f"You have no order {number}. Your orders are {known}.")
