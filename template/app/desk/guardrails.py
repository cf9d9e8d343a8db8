"""What the desk neither reads nor says. Yours.

`output_info` is what the person reads when a guardrail trips. An input guardrail with
`run_in_parallel=False` reads a text before any model does. Without it, the provider has the text by
the time that the guardrail trips.
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

from ..core.agent import Context
from ..core.production import new_text
from .cards import has_card_number

NO_CARDS = "Please never write the number of a card here. Your message was not answered."
NO_PROMISES = "The assistant wanted to promise something that it must not promise."


@input_guardrail(run_in_parallel=False)
async def no_cards(
    ctx: RunContextWrapper[Context], agent: Agent[Any], given: Any
) -> GuardrailFunctionOutput:
    """Stops a text with the number of a card in it."""
    return GuardrailFunctionOutput(NO_CARDS, tripwire_triggered=has_card_number(new_text(given)))


@output_guardrail
async def no_promises(
    ctx: RunContextWrapper[Context], agent: Agent[Any], said: Any
) -> GuardrailFunctionOutput:
    """Reads the last message of an answer; what is said before a tool is called it does not."""
    promised = re.search(r"\b(guarantee|promise) ", str(said), re.IGNORECASE)
    return GuardrailFunctionOutput(NO_PROMISES, tripwire_triggered=promised is not None)
