"""The application: `uv run fastapi dev` serves it. This file is yours."""

from .core import create_app
from .server import Server

app = create_app(Server)

# Your own routes go here: app.include_router(your_router)
