"""The agent: its name, its instructions and its tools. This file is yours.

It says nothing of a model: that is an answer of the template, and `MODEL` in the environment.
"""

from agents import Agent

from .core.agent import Context
from .tools import roll_dice

assistant = Agent[Context](
    name="Assistant",
    instructions="You are a helpful assistant. Answer briefly, in the language of the question.",
    tools=[roll_dice],
)
