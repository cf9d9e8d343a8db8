"""Modules and names that moved: `post_update.py` rewrites the imports of an owner's files by it.
The template's file: improvements arrive through `copier update`.
"""

from __future__ import annotations

import re

# Where a module is now, by the name that it had in 1.0.0 or on the way to 2.0.0.
MODULES = {
    "app.actions": "app.core.production.actions",
    "app.approvals": "app.core.production.approvals",
    "app.auth": "app.core.auth",
    "app.auth.anonymous": "app.core.auth.anonymous.visitor",
    "app.auth.anonymous_dev": "app.core.auth.anonymous.dev",
    "app.auth.curl": "app.core.auth.curl",
    "app.auth.dev": "app.core.auth.dev",
    "app.auth.header": "app.core.auth.header.proxy",
    "app.auth.header_dev": "app.core.auth.header.dev",
    "app.auth.jwks": "app.core.auth.jwt.jwks",
    "app.auth.jwt": "app.core.auth.jwt.bearer",
    "app.auth.jwt_dev": "app.core.auth.jwt.dev",
    "app.auth.jwt_key": "app.core.auth.jwt.dev_key",
    "app.auth.session": "app.core.auth.session.cookie",
    "app.auth.session_dev": "app.core.auth.session.dev",
    "app.auth.sessions": "app.core.auth.session.lookup",
    "app.base": "app.core.chat_server",
    "app.checks": "app.core.validation",
    "app.config": "app.core.config",
    "app.context": "app.core.context",
    "app.edge": "app.core.http.middleware",
    "app.endings": "app.core.production.sources",
    "app.endpoint": "app.core.http.endpoint",
    "app.errors": "app.core.errors",
    "app.facts": "app.core.log_context",
    "app.failures": "app.core.agent.model_errors",
    "app.guards": "app.core.production.guardrails",
    "app.history": "app.core.agent.history",
    "app.joining": "app.core.agent.text_coalescing",
    "app.lease": "app.core.lease",
    "app.limits": "app.core.http.rate_limit",
    "app.logs": "app.core.logs",
    "app.model": "app.core.agent.model",
    "app.model.arguments": "app.core.agent.model.arguments",
    "app.model.azure": "app.core.agent.model.azure",
    "app.model.compatible": "app.core.agent.model.compatible",
    "app.model.litellm": "app.core.agent.model.litellm",
    "app.model.offline": "app.core.agent.model.offline",
    "app.model.openai": "app.core.agent.model.openai",
    "app.ops": "app.core.production.ops",
    "app.ops.doctor": "app.core.production.ops.doctor",
    "app.ops.drain": "app.core.production.ops.drain",
    "app.ops.first_event": "app.core.production.ops.first_event",
    "app.ops.meter": "app.core.production.ops.meter",
    "app.ops.otel": "app.core.production.ops.otel",
    "app.ops.proxies": "app.core.production.ops.proxies",
    "app.ops.telemetry": "app.core.production.ops.telemetry",
    "app.ops.turn_limits": "app.core.production.ops.turn_limits",
    "app.ops.usage": "app.core.production.ops.usage",
    "app.ops.usage_store": "app.core.production.ops.usage_store",
    "app.production": "app.core.production.server",
    "app.run": "app.core.agent.run",
    "app.settings": "app.core.settings",
    "app.store": "app.core.store",
    "app.store.base": "app.core.store.base",
    "app.store.embedded": "app.core.store.embedded",
    "app.store.memory": "app.core.store.memory",
    "app.store.postgres": "app.core.store.postgres.store",
    "app.store.retention": "app.core.store.sql.retention",
    "app.store.retention_statements": "app.core.store.postgres.retention_statements",
    "app.store.rows": "app.core.store.sql.rows",
    "app.store.schema": "app.core.store.postgres.schema",
    "app.store.sqlite": "app.core.store.sqlite.store",
    "app.store.sqlite_file": "app.core.store.sqlite.file",
    "app.store.sqlite_schema": "app.core.store.sqlite.schema",
    "app.store.sqlite_statements": "app.core.store.sqlite.statements",
    "app.store.statements": "app.core.store.postgres.statements",
    "app.store.sweeps": "app.core.store.sql.deletion_sql",
    "app.stream": "app.core.http.streaming",
    "app.titles": "app.core.production.titles",
    "app.widget": "app.core.production.widget",
    "tests.cases": "tests.core.cases",
    "tests.chat": "tests.core.chat",
    "tests.conftest": "tests.core.fixtures",
    "tests.database": "tests.core.database",
    "tests.desk": "tests.core.production.desk",
    "tests.people": "tests.core.auth_styles",
    "tests.provider": "tests.core.agent.provider",
    "tests.stores": "tests.core.stores",
}
# The door that offers a name: owners' files import from there, and never from the module itself.
DOORS = {
    "ActionContext": "app.core.production",
    "Actions": "app.core.production",
    "AgentServer": "app.core.agent",
    "ApiError": "app.core",
    "AppSettings": "app.core",
    "BaseServer": "app.core",
    "BaseStore": "app.core",
    "Context": "app.core.agent",
    "Events": "app.core",
    "Explain": "app.core.production",
    "PageActionContext": "app.core.production",
    "ProductionServer": "app.core.production",
    "RequestContext": "app.core",
    "RunSettings": "app.core.agent",
    "Section": "app.core",
    "StoreSettings": "app.core",
    "StoreUnavailable": "app.core",
    "ToolContext": "app.core.agent",
    "ToolError": "app.core.agent",
    "Widget": "app.core.production",
    "ask": "app.core.production",
    "cite": "app.core.production",
    "create_app": "app.core",
    "load": "app.core",
    "logger": "app.core",
    "new_id": "app.core",
    "new_text": "app.core.production",
    "not_supported": "app.core",
    "open_store": "app.core",
}
NAMES = {"Acting": "ActionContext"}
IMPORT = re.compile(
    r"^([ \t]*)from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^()]*\)|[^\n(#]+)", re.MULTILINE
)


def rewritten(text: str, package: str, exists: set[str]) -> tuple[str, list[str]]:
    """The text of a module of `package` with imports that work, and each change as a line.

    `exists` has the modules that the project still has under an old name: those are its owner's.
    """
    changes: list[str] = []

    def replace(found: re.Match[str]) -> str:
        indent, module, names = found.groups()
        target = absolute(module, package)
        parts = [part.strip() for part in names.strip("() \t").replace("\n", ",").split(",")]
        moved: dict[str, list[str]] = {}
        for part in filter(None, parts):
            name, _, alias = part.partition(" as ")
            home, kept = place_of(target, name, exists), NAMES.get(name, name)
            alias = alias or (name if kept != name else "")
            moved.setdefault(home, []).append(f"{kept} as {alias}" if alias else kept)
        if set(moved) == {target}:
            return found[0]
        lines = [
            f"{indent}from {relative(home, package) if module[0] == '.' else home} "
            f"import {', '.join(names)}"
            for home, names in moved.items()
        ]
        number = text.count("\n", 0, found.start()) + 1
        changes.append(f"line {number}: {'; '.join(line.strip() for line in lines)}")
        return "\n".join(lines)

    return IMPORT.sub(replace, text), changes


def place_of(module: str, name: str, exists: set[str]) -> str:
    """The module from which `name` is imported now, where it was imported from `module`."""
    if f"{module}.{name}" in MODULES and f"{module}.{name}" not in exists:
        return MODULES[f"{module}.{name}"].rpartition(".")[0]
    if module == "app.main":  # the owner's now, and of the same name
        return DOORS.get(name, module)
    if module not in MODULES or module in exists:
        return module
    return DOORS.get(NAMES.get(name, name), MODULES[module])


def absolute(module: str, package: str) -> str:
    level = len(module) - len(module.lstrip("."))
    if not level:
        return module
    parents = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*parents, *filter(None, [module[level:]])])


def relative(module: str, package: str) -> str:
    to, here = module.split("."), package.split(".")
    shared = 0
    while shared < min(len(to), len(here)) and to[shared] == here[shared]:
        shared += 1
    return "." * (len(here) - shared + 1) + ".".join(to[shared:]) if shared else module
