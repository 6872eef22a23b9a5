"""Whole lists from an API server, page by page, as the server writes them: for questions that need every field."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from kproxy.core.envelope import api_error, decode_list, decode_status
from kproxy.effects.kube import Server

PAGE: Final = 500


def read_pages(server: Server, path: str) -> Iterator[bytes]:
    """The pages of a collection, unselected; ApiError (ApiDenied, ApiExpired) where the server does not give it."""
    going_on = ""
    while True:
        query = {"limit": PAGE, "continue": going_on} if going_on else {"limit": PAGE}
        body = _get(server, f"{path}?{urlencode(query)}")
        yield body
        going_on = decode_list(body).metadata.continue_
        if not going_on:
            return


def _get(server: Server, target: str) -> bytes:
    answer = server.get(target, stream=False)
    try:
        if answer.status == HTTPStatus.OK:
            return answer.body()
        raise api_error(f"GET {target}", answer.status, decode_status(answer.error_body()), answer.retry_after_s)
    finally:
        answer.close()
