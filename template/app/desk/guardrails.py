"""What the desk neither reads nor says. Yours.

A guardrail that trips takes back what was produced; `output_info` is what the person reads.
"""

import re
from typing import Any

from agents import (
    Agent,
    GuardrailFunctionOutput,
    RunContextWrapper,
    input_guardrail,
    output_guardrail,
)

from ..guards import new_text
from ..run import Context

CARD = re.compile(r"\b(?:\d[ -]?){13,19}\b")
NO_CARDS = "Please never write the number of a card here. Your message was not answered."
NO_PROMISES = "The assistant wanted to promise something that it must not promise."


@input_guardrail
async def no_cards(
    ctx: RunContextWrapper[Context], agent: Agent[Any], given: Any
) -> GuardrailFunctionOutput:
    """Stops a message with the number of a card in it."""
    found = CARD.search(new_text(given))
    return GuardrailFunctionOutput(NO_CARDS, tripwire_triggered=found is not None)


@output_guardrail
async def no_promises(
    ctx: RunContextWrapper[Context], agent: Agent[Any], said: Any
) -> GuardrailFunctionOutput:
    """Reads the last message of an answer; what is said before a tool is called it does not."""
    promised = re.search(r"\b(guarantee|promise) ", str(said), re.IGNORECASE)
    return GuardrailFunctionOutput(NO_PROMISES, tripwire_triggered=promised is not None)
