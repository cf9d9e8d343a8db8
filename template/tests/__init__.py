"""Tests of this project: the template's files, and yours beside them."""

import os

# Whatever .env says: importing `app.main` makes an application, and tests make their own.
os.environ["APP_ENV"] = "development"
os.environ["NO_PROXY"] = "127.0.0.1,localhost"
os.environ.pop("WEB_CONCURRENCY", None)
