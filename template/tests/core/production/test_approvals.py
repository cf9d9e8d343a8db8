"""A tool that acts only after a yes: nothing before, once after, also elsewhere and later."""

import asyncio
from typing import Any

import mcp.types
import pytest
from agents import (
    Agent,
    ApplyPatchTool,
    HostedMCPTool,
    ShellCommandRequest,
    ShellTool,
    Tool,
    function_tool,
)
from agents.editor import ApplyPatchOperation
from agents.mcp import MCPServer
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from chatkit import types as ck
from chatkit.agents import stream_agent_response
from chatkit.errors import CustomStreamError
from openai.types.responses import (
    ResponseApplyPatchToolCall,
    ResponseCompletedEvent,
    ResponseFunctionShellToolCall,
    ResponseFunctionWebSearch,
    ResponseOutputItemDoneEvent,
)
from openai.types.responses.response_apply_patch_tool_call import OperationUpdateFile
from openai.types.responses.response_function_shell_tool_call import Action
from openai.types.responses.response_output_item import McpApprovalRequest

from app.agent import assistant
from app.core.agent.run import Context
from app.core.agent.watched_run import CUT
from app.core.chat_server import Events
from app.desk import orders, tools

from ..chat import Json, Person, events_of, request, text_of, thread_id_of
from ..fixtures import RunningServer, wait_until
from .desk import (
    CALL,
    before_and_after_a_restart,
    calling,
    done,
    hidden,
    items,
    lock,
    offered,
    outputs,
    press,
    script,
)

TOO_OLD = "This question is too old to be answered. Please ask again."


def status(server: RunningServer, person: Person) -> str:
    return orders.find(server.context_of(person), 1001).status


def asked(server: RunningServer, person: Person) -> tuple[str, Json, ScriptedModel]:
    """The thread and the card in which the person is asked, and the model."""
    model = calling(server, "cancel_order", "It is done.", order=1001)
    events = person.say("Cancel order 1001")
    return thread_id_of(events), done(events, "widget")[0], model


def answer(person: Person, thread_id: str, card: Json, approve: bool) -> list[Json]:
    return press(person, thread_id, card, offered(card, "approval.answer", approve=approve))


def test_nothing_happens_before_the_person_agrees(server: RunningServer, person: Person) -> None:
    thread_id, card, model = asked(server, person)
    assert status(server, person) == "open"
    assert len(model.calls) == 1
    assert "cancel order: order 1001" in str(card["widget"])
    assert items(person, thread_id)[-1] == card


def test_after_a_yes_it_is_done_and_the_answer_goes_on(
    server: RunningServer, person: Person
) -> None:
    thread_id, card, model = asked(server, person)
    events = answer(person, thread_id, card, True)
    assert status(server, person) == "cancelled"
    assert text_of(events) == "It is done."
    assert outputs(model) == ["Order 1001 is cancelled."]
    [replaced] = done(events, "widget")
    assert replaced["id"] == card["id"]
    assert "Approved." in str(replaced["widget"])
    assert "approval.answer" not in str(replaced["widget"])
    assert items(person, thread_id)[-2] == replaced  # also after a reload


def test_after_a_no_it_is_not_done_and_the_model_knows(
    server: RunningServer, person: Person
) -> None:
    thread_id, card, model = asked(server, person)
    events = answer(person, thread_id, card, False)
    assert status(server, person) == "open"
    assert "not approved" in outputs(model)[0]
    assert "Rejected." in str(done(events, "widget")[0])


def test_an_answer_counts_once(server: RunningServer, person: Person) -> None:
    thread_id, card, model = asked(server, person)
    answer(person, thread_id, card, False)
    again = answer(person, thread_id, card, True)
    assert again[-1]["type"] == "error"
    assert again[-1]["message"].startswith("This button does not work any more.")
    assert status(server, person) == "open"
    assert len(model.calls) == 2


def test_what_was_kept_is_gone_after_the_answer_and_its_call_is_remembered(
    server: RunningServer, person: Person
) -> None:
    thread_id, card, model = asked(server, person)
    [kept] = hidden(server, person, thread_id)
    answer(person, thread_id, card, True)
    [record] = hidden(server, person, thread_id)
    assert record.id != kept.id
    person.say("Thanks", thread_id)
    given: Any = model.calls[-1].input
    calls = [item["call_id"] for item in given if "call_id" in item]
    assert len(calls) == 2  # the call and its output
    assert len(set(calls)) == 1


def test_somebody_may_write_on_before_they_answer(server: RunningServer, person: Person) -> None:
    model = script(
        server,
        [function_call("cancel_order", {"order": 1001}, call_id=CALL)],
        [assistant_message("It waits for you.")],
        [assistant_message("It is done.")],
    )
    events = person.say("Cancel order 1001")
    thread_id, card = thread_id_of(events), done(events, "widget")[0]
    assert text_of(person.say("Is it done?", thread_id)) == "It waits for you."
    given: Any = model.calls[-1].input
    assert not [item for item in given if "call_id" in item or "pending_run" in str(item)]
    assert text_of(answer(person, thread_id, card, True)) == "It is done."
    assert status(server, person) == "cancelled"


def test_a_question_of_another_version_says_that_it_is_too_old(
    server: RunningServer, person: Person
) -> None:
    thread_id, card, _ = asked(server, person)
    [kept] = hidden(server, person, thread_id)
    assert isinstance(kept, ck.HiddenContextItem)
    content: Any = kept.content
    content["state"]["$schemaVersion"] = "99.0"
    server.run(server.store.save_item(thread_id, kept, context=server.context_of(person)))
    last = answer(person, thread_id, card, True)[-1]
    assert last["message"] == TOO_OLD
    assert status(server, person) == "open"
    assert "Approved." not in str(items(person, thread_id))
    assert "Too old." in str(items(person, thread_id))


def test_a_question_about_a_tool_that_is_gone_says_that_it_is_too_old(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, card, _ = asked(server, person)
    monkeypatch.setattr(server.app.state.server, "extra_tools", ())
    last = answer(person, thread_id, card, True)[-1]
    assert last["message"] == TOO_OLD
    assert "Too old." in str(items(person, thread_id))


@pytest.mark.parametrize("state", ["locked", "closed"])
def test_a_thread_that_takes_nothing_more_takes_no_answer(
    server: RunningServer, person: Person, state: str
) -> None:
    thread_id, card, _ = asked(server, person)
    lock(server, person, thread_id, state)
    [refused] = answer(person, thread_id, card, True)
    assert refused["message"] == f"This conversation is {state}."
    assert status(server, person) == "open"


def test_a_strangers_answer_is_answered_like_one_to_nothing(
    server: RunningServer, person: Person, stranger: Person
) -> None:
    thread_id, card, _ = asked(server, person)
    action = {"type": "approval.answer", "payload": {"pending": "x", "approve": True}}
    about = {"thread_id": thread_id, "item_id": card["id"], "action": action}
    assert stranger.post("threads.custom_action", **about).status_code == 404
    action = offered(card, "approval.answer", approve=True)
    about["thread_id"], about["action"] = stranger.new_thread(), action
    assert stranger.post("threads.custom_action", **about).status_code == 404
    assert status(server, person) == "open"


def test_an_approved_tool_may_take_longer_than_a_model_may_to_begin(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    @function_tool(needs_approval=True)
    async def book_truck() -> str:
        await asyncio.sleep(0.6)
        return "It is booked."

    monkeypatch.setattr(server.app.state.server, "extra_tools", [book_truck])
    monkeypatch.setattr(server.app.state.server.settings, "model_timeout", 0.3)
    model = calling(server, "book_truck", "It comes.")
    events = person.say("A truck, please")
    answered = answer(person, thread_id_of(events), done(events, "widget")[0], True)
    assert text_of(answered) == "It comes."
    assert outputs(model) == ["It is booked."]


def test_a_model_that_fails_after_a_yes_leaves_it_done_once(
    server: RunningServer, person: Person
) -> None:
    call = function_call("cancel_order", {"order": 1001}, call_id=CALL)
    model = script(server, [call], RuntimeError("broken"), [assistant_message("Here again.")])
    events = person.say("Cancel order 1001")
    thread_id, [card] = thread_id_of(events), done(events, "widget")
    assert answer(person, thread_id, card, True)[-1]["type"] == "error"
    assert status(server, person) == "cancelled"
    assert answer(person, thread_id, card, True)[-1]["message"].startswith("This button")
    assert text_of(person.say("And?", thread_id)) == "Here again."
    assert outputs(model) == ["Order 1001 is cancelled."]


def test_a_model_that_fails_at_once_does_not_lose_what_its_tools_did(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*about: Any, **rest: Any) -> Any:
        await asyncio.sleep(0.2)  # a busy machine: the run has failed before anyone listens
        async for event in stream_agent_response(*about, **rest):
            yield event

    calls = [
        function_call("cancel_order", {"order": order}, call_id=str(order))
        for order in (1001, 1002)
    ]
    model = script(server, calls, RuntimeError("broken"), [assistant_message("Here again.")])
    events = person.say("Cancel both")
    thread_id, [card] = thread_id_of(events), done(events, "widget")
    monkeypatch.setattr("app.core.agent.run.stream_agent_response", late)
    assert answer(person, thread_id, card, True)[-1]["type"] == "error"
    person.say("And?", thread_id)
    assert outputs(model) == ["Order 1001 is cancelled.", "Order 1002 is shipped."]


def test_one_card_asks_for_all_that_the_model_wants_at_once(
    server: RunningServer, person: Person
) -> None:
    wanted: list[Any] = [{"order": 1001}, {"order": 1002}, "not JSON"]
    calls = [
        function_call("cancel_order", arguments, call_id=f"call_{number}")
        for number, arguments in enumerate(wanted)
    ]
    model = script(server, calls, [assistant_message("Done.")])
    events = person.say("Cancel them")
    [card] = done(events, "widget")
    for told in ("order 1001", "order 1002", "not JSON"):
        assert f"cancel order: {told}" in str(card["widget"])
    assert text_of(answer(person, thread_id_of(events), card, True)) == "Done."
    assert outputs(model)[:2] == ["Order 1001 is cancelled.", "Order 1002 is shipped."]


def test_an_agent_that_took_over_asks_and_goes_on_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = Agent[Context](name="Clerk", tools=[tools.cancel_order])
    monkeypatch.setattr("app.server.Server.handoffs", (clerk,))
    model = script(
        server,
        [function_call("transfer_to_clerk", {}, call_id="over")],
        [function_call("cancel_order", {"order": 1001}, call_id=CALL)],
        [assistant_message("The clerk did it.")],
    )
    events = person.say("Cancel it")
    [card] = done(events, "widget")
    assert text_of(answer(person, thread_id_of(events), card, True)) == "The clerk did it."
    assert status(server, person) == "cancelled"
    assert [tool.name for tool in model.calls[-1].tools] == ["cancel_order"]


def test_a_question_outlives_the_server_that_asked_it() -> None:
    with before_and_after_a_restart() as (first, second):
        person = first.person()
        thread_id, card, _ = asked(first, person)
        person.http.base_url = second.url
        model = script(second, [assistant_message("It is done.")])
        assert text_of(answer(person, thread_id, card, True)) == "It is done."
        assert outputs(model) == ["Order 1001 is cancelled."]


def pay(ended: list[str]) -> Tool:
    @function_tool(needs_approval=True)
    async def pay() -> str:
        await asyncio.sleep(30)
        ended.append("paid")
        return "It is paid."

    return pay


def test_a_run_goes_on_in_a_thread_that_has_an_answer(
    server: RunningServer, person: Person
) -> None:
    """With plain text, which Chat Completions models take.

    The first half fails when the SDK does so by itself: then `_plain` of
    approvals.py can go.
    """
    call = function_call("cancel_order", {"order": 1001}, call_id=CALL)
    said = [[assistant_message("Hello.")], [call], [assistant_message("It is done.")]]
    model = script(server, *said)
    thread_id = person.new_thread()
    card = done(person.say("Cancel order 1001", thread_id), "widget")[0]
    kept: Any = hidden(server, person, thread_id)[-1]
    given = kept.content["state"]["original_input"]
    [earlier] = [one for one in given if one.get("role") == "assistant"]
    assert earlier["content"] == [{"type": "output_text", "text": "Hello."}]

    assert text_of(answer(person, thread_id, card, approve=True)) == "It is done."
    sent: Any = model.calls[-1].input
    [again] = [one for one in sent if one.get("role") == "assistant"]
    assert (again["content"], "status" in again) == ("Hello.", False)


def test_of_a_tool_that_is_cut_off_after_a_yes_the_model_knows_that_it_may_be_done(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(server.app.state.server, "extra_tools", [pay(ended)])
    model = calling(server, "pay", "I cannot tell.")
    events = person.say("Pay")
    thread_id, [card] = thread_id_of(events), done(events, "widget")
    action = offered(card, "approval.answer", approve=True)
    about = {"thread_id": thread_id, "item_id": card["id"], "action": action}
    body = request("threads.custom_action", **about)
    with person.http.stream("POST", "/chatkit", json=body) as response:
        next(event for event in events_of(response) if event["type"] == "thread.item.replaced")
    wait_until(lambda: not server.app.state.turns)
    person.say("Is it paid?", thread_id)
    assert ended == []
    assert outputs(model) == [CUT]


@pytest.mark.parametrize("end", ["refused", "silent", "left"])
def test_where_nothing_was_run_the_question_stays_open(
    server: RunningServer, person: Person, end: str
) -> None:
    async def respond(*_: Any) -> Events:
        yield ck.NoticeEvent(level="info", message="One moment.")
        if end == "refused":
            raise CustomStreamError("Your plan has ended.")
        await asyncio.sleep(60 if end == "left" else 0)

    thread_id, card, _ = asked(server, person)
    action = offered(card, "approval.answer", approve=True)
    about = {"thread_id": thread_id, "item_id": card["id"], "action": action}
    body = request("threads.custom_action", **about)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.app.state.server, "respond", respond)
        with person.http.stream("POST", "/chatkit", json=body) as response:
            events = events_of(response)
            next(event for event in events if event["type"] == "notice")
            rest = [] if end == "left" else list(events)
    wait_until(lambda: not server.app.state.turns)
    assert ("Your plan has ended." in str(rest)) == (end == "refused")
    assert "Approved." not in str(items(person, thread_id))
    assert status(server, person) == "open"
    assert text_of(answer(person, thread_id, card, True)) == "It is done."
    assert status(server, person) == "cancelled"


def test_a_state_that_cannot_be_read_is_too_old(server: RunningServer, person: Person) -> None:
    thread_id, card, _ = asked(server, person)
    [kept] = hidden(server, person, thread_id)
    assert isinstance(kept, ck.HiddenContextItem)
    content: Any = kept.content
    del content["state"]["max_turns"]
    server.run(server.store.save_item(thread_id, kept, context=server.context_of(person)))
    assert answer(person, thread_id, card, True)[-1]["message"] == TOO_OLD


def test_an_agent_that_is_a_tool_asks_and_its_answer_is_remembered(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Agent[Context](name="Inner", tools=[tools.cancel_order])
    outer = assistant.clone(tools=[inner.as_tool("ask_inner", "Asks the inner agent.")])
    monkeypatch.setattr("app.server.assistant", outer)
    model = script(
        server,
        [function_call("ask_inner", {"input": "cancel 1001"}, call_id="outer")],
        [function_call("cancel_order", {"order": 1001}, call_id="inner")],
        *([assistant_message(text)] for text in ("It is off.", "Done.", "You are welcome.")),
    )
    inner.model = model
    events = person.say("Cancel it")
    thread_id, [card] = thread_id_of(events), done(events, "widget")
    assert text_of(answer(person, thread_id, card, True)) == "Done."
    person.say("Thanks", thread_id)
    given: Any = model.calls[-1].input
    [name] = [item["name"] for item in given if "name" in item]
    assert name == "ask_inner"
    assert len({item["call_id"] for item in given if "call_id" in item}) == 1
    assert "It is off." in outputs(model)[0]


def test_what_ended_beside_a_question_is_remembered_once(
    server: RunningServer, person: Person
) -> None:
    """What a provider's own tool did is no record: it has neither a call's id nor an output."""
    action: Any = {"type": "search", "query": "parcels"}
    search = ResponseFunctionWebSearch(
        id="ws_1", action=action, status="completed", type="web_search_call"
    )
    track = function_call("track_parcel", {"order": 1002}, call_id="track")
    cancel = function_call("cancel_order", {"order": 1001}, call_id=CALL)
    said = [[assistant_message(text)] for text in ("Done.", "You are welcome.")]
    caller = ScriptedModel([[track, cancel]])

    async def searching(call: Any) -> Any:
        given: Any = (None, "", call.model_settings, [], None, [], None)
        rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        async for event in caller.stream_response(*given, **rest):
            if isinstance(event, ResponseCompletedEvent):
                event.response.output.insert(0, search)
            yield event

    model = script(server, ModelStep.stream(searching), *said)
    events = person.say("Look, and cancel")
    thread_id, [card] = thread_id_of(events), done(events, "widget")
    answer(person, thread_id, card, True)
    person.say("Thanks", thread_id)
    given: Any = model.calls[-1].input
    names = {i["call_id"]: i["name"] for i in given if "name" in i}
    ended = [names[i["call_id"]] for i in given if "output" in i]
    assert ended == ["track_parcel", "cancel_order"]
    assert [i for i in given if "call_id" in i and not i["call_id"]] == []


class Shop(MCPServer):
    """Its one tool needs an approval, as a server's settings may say."""

    name = "shop"

    def __init__(self) -> None:
        super().__init__(require_approval="always")
        self.called: list[str] = []
        self.is_away = False

    async def list_tools(self, *_: Any) -> Any:
        if self.is_away:
            raise ConnectionError
        return [mcp.types.Tool(name="pay_bill", input_schema={"type": "object", "properties": {}})]

    async def call_tool(self, tool_name: str, *_: Any) -> Any:
        self.called.append(tool_name)
        return mcp.types.CallToolResult(content=[mcp.types.TextContent(type="text", text="Paid.")])

    async def connect(self) -> None: ...
    async def cleanup(self) -> None: ...
    async def list_prompts(self) -> Any: ...
    async def get_prompt(self, *_: Any) -> Any: ...


def test_a_tool_of_an_mcp_server_waits_for_a_yes_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop()
    monkeypatch.setattr("app.server.assistant", assistant.clone(mcp_servers=[shop]))
    model = calling(server, "pay_bill", "It is paid.")
    events = person.say("Pay it")
    [card] = done(events, "widget")
    shop.is_away = True
    assert answer(person, thread_id_of(events), card, True)[-1]["message"] != TOO_OLD
    shop.is_away = False
    assert shop.called == []
    assert text_of(answer(person, thread_id_of(events), card, True)) == "It is paid."
    assert shop.called == ["pay_bill"]
    assert "Paid." in outputs(model)[0]


PAYING = HostedMCPTool(
    {"type": "mcp", "server_label": "bank", "server_url": "https://x", "require_approval": "always"}
)


def to_pay(number: int) -> McpApprovalRequest:
    return McpApprovalRequest(
        id=f"mcpr_{number}",
        type="mcp_approval_request",
        server_label="bank",
        name="pay",
        arguments='{"euros": 5}',
    )


def calls(item: Any) -> ModelStep:
    """A step in which the model makes a call of a kind that ScriptedModel does not stream."""
    beneath = ScriptedModel([[assistant_message("")]])

    async def events(call: Any) -> Any:
        given: Any = (None, "", call.model_settings, [], None, [], None)
        rest: Any = {"previous_response_id": None, "conversation_id": None, "prompt": None}
        async for event in beneath.stream_response(*given, **rest):
            if isinstance(event, ResponseCompletedEvent):
                done: Any = {"type": "response.output_item.done", "output_index": 0}
                yield ResponseOutputItemDoneEvent(item=item, sequence_number=9, **done)
                event.response.output[:] = [item]
                yield event

    return ModelStep.stream(events)


@pytest.mark.parametrize("approve", [True, False])
def test_a_hosted_mcp_tool_waits_for_a_yes_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch, approve: bool
) -> None:
    monkeypatch.setattr("app.server.assistant", assistant.clone(tools=[PAYING]))
    model = script(server, calls(to_pay(1)), [assistant_message("Very well.")])
    events = person.say("Pay it")
    [card] = done(events, "widget")
    assert "bank, pay: euros 5" in str(card)
    assert text_of(answer(person, thread_id_of(events), card, approve)) == "Very well."
    given: Any = model.calls[-1].input
    [told] = [item for item in given if item.get("type") == "mcp_approval_response"]
    assert (told["approval_request_id"], told["approve"]) == ("mcpr_1", approve)


def test_a_model_that_never_begins_after_a_hosted_tools_yes_is_given_up(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: object) -> Any:
        await asyncio.sleep(60)
        yield

    monkeypatch.setattr("app.server.assistant", assistant.clone(tools=[PAYING]))
    monkeypatch.setattr(server.app.state.server.settings, "model_timeout", 0.3)
    script(server, calls(to_pay(1)), ModelStep.stream(never))
    events = person.say("Pay it")
    [card] = done(events, "widget")
    told = answer(person, thread_id_of(events), card, True)[-1]
    assert "took too long" in told["message"]


def test_a_question_of_an_mcp_server_that_is_gone_says_that_it_is_too_old(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.assistant", assistant.clone(tools=[PAYING]))
    script(server, calls(to_pay(1)), [assistant_message("Very well.")])
    events = person.say("Pay it")
    [card] = done(events, "widget")
    other = HostedMCPTool({"type": "mcp", "server_label": "post", "server_url": "https://x"})
    monkeypatch.setattr("app.server.assistant", assistant.clone(tools=[other]))
    assert answer(person, thread_id_of(events), card, True)[-1]["message"] == TOO_OLD


class Editor:
    """Notes what it is asked to write."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def update_file(self, operation: ApplyPatchOperation) -> None:
        self.written.append(operation.path)

    create_file = delete_file = update_file


def shell_call(command: str) -> Any:
    action = Action(commands=[command])
    return ResponseFunctionShellToolCall(
        id="sh_1", call_id="call_sh", type="shell_call", action=action, status="completed"
    )


def patch_call(path: str) -> Any:
    operation = OperationUpdateFile(type="update_file", path=path, diff="@@\n-a\n+b\n")
    return ResponseApplyPatchToolCall(
        id="ap_1",
        call_id="call_ap",
        type="apply_patch_call",
        operation=operation,
        status="completed",
    )


@pytest.mark.parametrize(
    ("call", "shown"), [(shell_call("ls doors"), "ls doors"), (patch_call("door.txt"), "door.txt")]
)
def test_a_shell_and_a_patch_wait_for_a_yes_too(
    server: RunningServer, person: Person, monkeypatch: pytest.MonkeyPatch, call: Any, shown: str
) -> None:
    editor = Editor()

    def run(request: ShellCommandRequest) -> str:
        editor.written += request.data.action.commands
        return "done"

    own = [ShellTool(run, needs_approval=True), ApplyPatchTool(editor, needs_approval=True)]
    monkeypatch.setattr("app.server.assistant", assistant.clone(tools=own))
    script(server, calls(call), [assistant_message("It is done.")])
    events = person.say("Do it")
    [card] = done(events, "widget")
    assert shown in str(card)
    assert editor.written == []
    assert text_of(answer(person, thread_id_of(events), card, True)) == "It is done."
    assert editor.written == [shown]
