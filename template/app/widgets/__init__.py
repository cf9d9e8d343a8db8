"""The widgets of the desk: a `.widget` file each, and the data that it shows. This folder is yours.

Draw one at https://widgets.chatkit.studio, save its file here and write its fields as a class: the
start fails where the two differ. What `build()` gives, a tool streams or an action puts in place.
"""

from pydantic import BaseModel

from ..core.production import Widget


class OrderCard(Widget, file="order.widget"):
    number: int
    title: str
    image: str
    price: float
    status: str
    note: str
    watched: bool


class OrderLine(BaseModel):
    number: int
    title: str
    status: str


class OrderList(Widget, file="orders.widget"):
    heading: str
    lines: list[OrderLine]


class ProblemForm(Widget, file="problem.widget"):
    number: int
    title: str
    sent: str  # empty while the form is open


class Spent(BaseModel):
    month: str
    price: float


class Spending(Widget, file="spending.widget"):
    title: str
    data: list[Spent]


class Letter(Widget, file="letter.widget"):
    title: str
    text: str
    streaming: bool
