"""The door to an API server: credentials, TLS and connections, all owned by the `kubernetes` package.

Importing this module imports that package (0.3 s, 18 MB), so it is imported
where a cluster is really asked. The package's models are never touched:
answers are handed on as they come (docs/decisions/0201).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.rest import RESTClientObject
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, SSLError

from kproxy.core.envelope import printable
from kproxy.errors import ApiError, ConfigError

TIMEOUT = urllib3.Timeout(connect=10.0, read=120.0)
"""Seconds. A watch hears a bookmark every minute, so that the silence allowed is two missed ones."""
SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""A server that is gone without a word is noticed after a minute."""
HEADERS = {"Accept": "application/json", "User-Agent": "kproxy"}
ENCODINGS = {True: "identity", False: "gzip"}
"""By whether the answer streams: what is compressed may be held back on its way (docs/decisions/0202)."""

POST_TIMEOUT_S = 10.0
CHUNK_BYTES = 256 * 1024
ERROR_BODY_BYTES = 64 * 1024
USER_KUBECONFIG = "~/.kube/config"
IN_CLUSTER = "KUBERNETES_SERVICE_HOST"

load_kube_config: Callable[..., None] = config.load_kube_config
load_incluster_config: Callable[..., None] = config.load_incluster_config
Load = Callable[[], client.Configuration]
"""ConfigError if it cannot."""


class Answer:
    """A response whose body has not been read. Every method but `shutdown` is for one thread."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self._response.status

    @property
    def retry_after_s(self) -> float:
        """The header Retry-After, in seconds; 0 without one (a date counts as none)."""
        text = self._response.headers.get("Retry-After", "")
        return float(text) if text.isascii() and text.isdigit() else 0.0

    def body(self) -> bytes:
        """All of it, and the connection is free for the next request; ApiError if it breaks off."""
        try:
            return self._response.read()
        except (HTTPError, OSError) as error:
            raise _api_error(error) from error

    def error_body(self) -> bytes:
        """Its beginning; empty if it breaks off, for the status has said enough."""
        try:
            return self._response.read(ERROR_BODY_BYTES)
        except (HTTPError, OSError):
            return b""

    def chunks(self) -> Iterator[bytes]:
        """Its pieces as they arrive, to its proper end; ApiError if it breaks off or is silent too long."""
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                yield chunk
        except (HTTPError, OSError) as error:
            raise _api_error(error) from error

    def shutdown(self) -> None:
        """Wake the thread that is reading, from any other thread."""
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            return  # it has been read to its end meanwhile

    def close(self) -> None:
        """Give the connection back if all was read, else close it."""
        if self._response.closed:
            self._response.release_conn()
        else:
            self._response.close()


class ApiServer:
    """Connections to one API server; safe to use from several threads."""

    def __init__(self, load: Load) -> None:
        """Loads the credentials, so that a wrong kubeconfig is a ConfigError here and now."""
        self._load = load
        self._lock = threading.Lock()
        self._stale = False
        self._configuration = load()
        self._pool = _pool(self._configuration)

    def get(self, target: str, *, stream: bool) -> Answer:
        """Send GET for a path with its query. ApiError where no answer comes.

        After a 401 or a failed handshake the configuration is loaded anew
        before the next request: files may have been rotated meanwhile, a
        plugin may know better.
        """
        url, headers, pool = self._prepare(target)
        headers = {**headers, "Accept-Encoding": ENCODINGS[stream]}
        try:
            response = pool.request(
                "GET", url, headers=headers, preload_content=False, redirect=False, retries=False, timeout=TIMEOUT
            )
        except (HTTPError, OSError) as error:
            self._stale |= isinstance(error, SSLError)
            raise _api_error(error) from error
        self._stale |= response.status == HTTPStatus.UNAUTHORIZED
        return Answer(response)

    def post(self, target: str, body: bytes) -> int:
        """Send POST with JSON for a path; the status of the answer. ApiError where no answer comes."""
        url, headers, pool = self._prepare(target)
        headers = {**headers, "Content-Type": "application/json"}
        try:
            answer = pool.request(
                "POST", url, body=body, headers=headers, redirect=False, retries=False, timeout=POST_TIMEOUT_S
            )
        except (HTTPError, OSError) as error:
            raise _api_error(error) from error
        self._stale |= answer.status == HTTPStatus.UNAUTHORIZED
        return answer.status

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def _prepare(self, target: str) -> tuple[str, dict[str, str], urllib3.PoolManager]:
        """URL, headers and connections; credentials are renewed by the package when their time has come."""
        with self._lock:
            try:
                if self._stale:
                    self._configuration = self._load()
                    self._pool = _pool(self._configuration)
                    self._stale = False
                bearer = self._configuration.auth_settings().get("BearerToken")
            except Exception as error:
                raise ApiError(f"credentials: {type(error).__name__}: {printable(str(error))}") from error
            token = ((bearer["value"] if bearer else "") or "").strip()
            if not token.isprintable() or not token.isascii():
                raise ApiError("credentials: the token holds characters that no HTTP header can")
            headers = HEADERS | {"Authorization": token} if token else HEADERS
            return self._configuration.host.rstrip("/") + target, headers, self._pool


def open_server(kubeconfig: str = "", master: str = "") -> ApiServer:
    """The server of a kubeconfig, or of the cluster that this process runs in; `master` is a URL to use instead.

    Looked for in this order: the path given, $KUBECONFIG, ~/.kube/config, the
    service account of the pod. ConfigError names the file, or what was looked for.
    """
    user = Path(USER_KUBECONFIG).expanduser()
    path = kubeconfig or os.environ.get("KUBECONFIG", "") or (str(user) if user.exists() else "")
    if path:
        return ApiServer(lambda: _at(master, _from_files(path)))
    if os.environ.get(IN_CLUSTER):
        return ApiServer(lambda: _at(master, _from_cluster()))
    if master:
        return ApiServer(lambda: _at(master, client.Configuration()))
    raise ConfigError(
        "no API server is known: name a kubeconfig, set KUBECONFIG, "
        f"write {USER_KUBECONFIG}, or run in a pod with a service account"
    )


def _at(master: str, configuration: client.Configuration) -> client.Configuration:
    """The same credentials for another URL, if one is given."""
    if master:
        configuration.host = master
    return configuration


def _from_files(path: str) -> client.Configuration:
    """As kubectl reads them: KUBECONFIG may name several files, of which some may be missing."""
    if not any(Path(part).expanduser().is_file() for part in path.split(os.pathsep) if part):
        raise ConfigError(f"kubeconfig {path}: there is no such file")
    configuration = client.Configuration()
    try:
        load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_not_yaml(path, error)) from error
    except Exception as error:  # over a malformed file the package stumbles in its own ways
        reason = "it is no kubeconfig" if isinstance(error, TypeError | AttributeError) else printable(str(error))
        raise ConfigError(f"kubeconfig {path}: {reason or type(error).__name__}") from error
    return configuration


def _not_yaml(path: str, error: yaml.MarkedYAMLError) -> str:
    """Where in which of the files, and what is wrong there, as of a configuration."""
    mark = error.problem_mark or error.context_mark
    place = f"{mark.name}:{mark.line + 1}:{mark.column + 1}" if mark else path
    return f"kubeconfig {place}: not YAML: {', '.join(filter(None, (error.problem, error.context)))}"


def _from_cluster() -> client.Configuration:
    configuration = client.Configuration()
    try:
        load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise ConfigError(f"service account of this pod: {error}") from error
    return configuration


def _pool(configuration: client.Configuration) -> urllib3.PoolManager:
    configuration.socket_options = SOCKET_OPTIONS
    try:
        pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS material for {configuration.host}: {error}") from error
    return pool


def _api_error(error: Exception) -> ApiError:
    return ApiError(f"{type(error).__name__}: {printable(str(error))}")
