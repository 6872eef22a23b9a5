"""Which server is found, with which credentials, and what is said when there is none; over real sockets and TLS."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from kproxy.effects.kube_client import ApiServer as Door
from kproxy.effects.kube_client import open_server
from kproxy.errors import ApiError, ConfigError
from tests.fakes.apiobjects import service
from tests.fakes.apiserver import ApiServer, Fault

TLS = Path(__file__).parents[2] / "data" / "tls"
TARGET = "/version"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def write(path: Path, kubeconfig: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kubeconfig))
    return str(path)


def ask(door: Door) -> int:
    answer = door.get(TARGET, stream=False)
    try:
        assert answer.body()
        return answer.status
    finally:
        answer.close()


# -- where it is looked for --------------------------------------------------------------------------


def test_the_path_given_goes_before_the_environment_and_that_before_the_users_own(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {name: tmp_path / name for name in ("given", "environment", "home/.kube/config")}
    for name, path in paths.items():
        write(path, server.kubeconfig(token=name.partition("/")[0]))
    monkeypatch.setenv("KUBECONFIG", str(paths["environment"]))
    assert ask(open_server(str(paths["given"]))) == 200
    assert ask(open_server()) == 200
    monkeypatch.delenv("KUBECONFIG")
    assert ask(open_server()) == 200
    assert [request.authorization for request in server.requests] == [
        "Bearer given",
        "Bearer environment",
        "Bearer home",
    ]


def test_kubeconfig_may_name_several_files_of_which_some_are_missing(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{write(tmp_path / 'there', server.kubeconfig())}")
    assert ask(open_server()) == 200


def test_in_a_pod_its_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(TLS / "ca.pem"))
    with ApiServer({"pod-token"}, tls=tls()) as server:
        host, _, port = server.url.removeprefix("https://").partition(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        assert ask(open_server()) == 200


def test_in_a_pod_without_a_token_that_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    with pytest.raises(ConfigError, match="service account of this pod: Service token file does not exist"):
        open_server()


def test_without_any_the_text_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"name a kubeconfig, set KUBECONFIG, write ~/\.kube/config, or run in a pod"):
        open_server()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "file is empty"),
        ("a: b\nc: [\n", ":3:1: not YAML: "),
        ("words", "it is no kubeconfig"),
        ("[]", "kubeconfig"),
        ("{}", "current-context"),
        ('{"current-context":"a","contexts":[]}', "Expected object with name a"),
    ],
)
def test_a_kubeconfig_beyond_use_is_named_with_its_fault(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"^kubeconfig {path}:.+") as error:
        open_server(str(path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kubeconfig .*/nope: there is no such file"):
        open_server(str(tmp_path / "nope"))


# -- credentials and TLS -----------------------------------------------------------------------------


def tls(*, clients: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(TLS / "ca.pem"))
    context.load_cert_chain(TLS / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED if clients else ssl.CERT_NONE
    return context


def test_the_authority_of_the_kubeconfig_is_trusted_and_a_client_certificate_shown(tmp_path: Path) -> None:
    with ApiServer(tls=tls(clients=True)) as server:
        kubeconfig = server.kubeconfig(ca=str(TLS / "ca.pem"))
        own = {"client-certificate": str(TLS / "client.pem"), "client-key": str(TLS / "client.pem")}
        kubeconfig["users"][0]["user"] = own
        assert ask(open_server(write(tmp_path / "kubeconfig", kubeconfig))) == 200


def test_a_server_of_another_authority_is_refused_and_the_right_one_taken_up_when_it_is_there(tmp_path: Path) -> None:
    with ApiServer(tls=tls()) as server:
        path = write(tmp_path / "kubeconfig", server.kubeconfig())
        door = open_server(path)
        with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
            door.get(TARGET, stream=False)
        write(Path(path), server.kubeconfig(ca=str(TLS / "ca.pem")))
        assert ask(door) == 200


def test_a_plugin_is_asked_for_the_token_and_again_when_it_is_refused(tmp_path: Path) -> None:
    credential = tmp_path / "credential"

    def issue(token: str) -> None:
        api_version = "client.authentication.k8s.io/v1"
        credential.write_text(
            json.dumps({"apiVersion": api_version, "kind": "ExecCredential", "status": {"token": token}})
        )

    issue("stale")
    with ApiServer({"fresh"}) as server:
        kubeconfig = server.kubeconfig()
        kubeconfig["users"][0]["user"] = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": ["-c", f"print(open({str(credential)!r}).read())"],
            }
        }
        door = open_server(write(tmp_path / "kubeconfig", kubeconfig))
        refused = door.get("/api/v1/services", stream=False)
        assert refused.status == 401
        refused.close()
        issue("fresh")
        answer = door.get("/api/v1/services", stream=False)
        assert (answer.status, json.loads(answer.body())["kind"]) == (200, "ServiceList")
        answer.close()


def test_a_token_file_may_end_in_a_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("good\n")
    with ApiServer({"good"}) as server:
        kubeconfig = server.kubeconfig()
        kubeconfig["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
        assert ask(open_server(write(tmp_path / "kubeconfig", kubeconfig))) == 200


@pytest.mark.parametrize("token", ["se\ncret", "se\u00e9cret", "se\0cret"])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(
    server: ApiServer, tmp_path: Path, token: str
) -> None:
    door = open_server(write(tmp_path / "kubeconfig", server.kubeconfig(token)))
    with pytest.raises(ApiError, match="the token holds characters") as error:
        door.get(TARGET, stream=False)
    assert "cret" not in str(error.value)


# -- answers -----------------------------------------------------------------------------------------


def door_to(server: ApiServer, tmp_path: Path) -> Door:
    return open_server(write(tmp_path / "kubeconfig", server.kubeconfig(token="secret-token")))


def test_where_nobody_listens_the_error_says_so_without_secrets(tmp_path: Path) -> None:
    server = ApiServer().start()
    door = door_to(server, tmp_path)
    server.stop()
    with pytest.raises(ApiError, match="Connection refused") as error:
        door.get(TARGET, stream=False)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("header", "seconds"), [(7, 7.0), (0, 0.0)])
def test_retry_after_is_told_in_seconds(server: ApiServer, tmp_path: Path, header: int, seconds: float) -> None:
    server.inject(Fault(code=429, retry_after_s=header))
    answer = door_to(server, tmp_path).get(TARGET, stream=False)
    assert (answer.status, answer.retry_after_s) == (429, seconds)
    assert b"injected" in answer.error_body()
    answer.close()


def test_an_answer_that_breaks_off_is_an_error_not_a_short_body(server: ApiServer, tmp_path: Path) -> None:
    server.inject(Fault(cut_after_bytes=10))
    answer = door_to(server, tmp_path).get("/api/v1/services", stream=False)
    with pytest.raises(ApiError, match="IncompleteRead"):
        answer.body()
    answer.close()


@pytest.mark.parametrize(("stream", "encoding"), [(False, "gzip"), (True, None)])
def test_long_lists_are_compressed_and_streams_are_not(
    server: ApiServer, tmp_path: Path, encoding: str | None, *, stream: bool
) -> None:
    server.put(*(service(f"s{number}", cluster_ip="10.96.0.20") for number in range(400)))
    answer = door_to(server, tmp_path).get("/api/v1/services", stream=stream)
    assert answer._response.headers.get("Content-Encoding") == encoding
    assert len(json.loads(answer.body())["items"]) == 400
    answer.close()


def test_shutdown_of_an_answer_that_is_over_does_no_harm(server: ApiServer, tmp_path: Path) -> None:
    answer = door_to(server, tmp_path).get(TARGET, stream=False)
    answer.body()
    answer.shutdown()
    answer.close()
    answer.shutdown()
