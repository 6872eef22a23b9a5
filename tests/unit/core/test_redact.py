"""Secrets go out of texts and of plain data, in all the forms in which they are met; the rest stays as it is."""

from __future__ import annotations

import json

import pytest

from kproxy.core.redact import REMOVED, redacted, redacted_text

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+Plant3d=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"a\n{PEM}\nb", f"a\n{REMOVED}\nb"),
        ("a\n-----BEGIN CERTIFICATE-----\nMIIplanted", f"a\n{REMOVED}"),
        ("data: LS0tLS1CRUdJTiBDRVJUplanted==", f"data: {REMOVED}"),
        ("x eyJhbGciOi.eyJzdWIiplanted.sigplanted y", f"x {REMOVED} y"),
        ("Authorization: Bearer plantedplanted", f"Authorization: {REMOVED} {REMOVED}"),
        ("got Bearer plantedplanted", f"got Bearer {REMOVED}"),
        ("https://me:planted@192.0.2.1:6443/x", f"https://{REMOVED}@192.0.2.1:6443/x"),
        ("--token=planted --v=2", f"--token={REMOVED} --v=2"),
        ("--token planted --v=2", f"--token={REMOVED} --v=2"),
        ('password: "planted planted"', f"password: {REMOVED}"),
        ("client-key-data: planted", f"client-key-data: {REMOVED}"),
        ("DB_PASSWORD=planted x", f"DB_PASSWORD={REMOVED} x"),
        ("abcdef.0123456789abcdef", REMOVED),
        ("AKIAABCDEFGHIJKLMNOP", REMOVED),
        ('k.io/last-applied-configuration: {"spec":"planted"}', f"k.io/last-applied-configuration: {REMOVED}"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, rest: str) -> None:
    assert redacted_text(text) == rest
    assert "planted" not in redacted_text(text).lower()


@pytest.mark.parametrize(
    "text",
    [
        '-A KPROXY-SVC-6SNXKAYCPMCR3UPY -p tcp -m comment --comment "shop/tokens:http lb" -j DNAT',
        "net.ipv4.conf.all.secure_redirects = 1",
        '10.96.0.80 . tcp . 80 : goto frontends/any-cluster comment "shop/web:http"',
        "https://192.0.2.1:6443/api/v1/services?limit=500",
        "abcdef.0123456789abcde",
    ],
)
def test_what_does_not_stays(text: str) -> None:
    assert redacted_text(text) == text


def test_plain_data_keeps_its_shape() -> None:
    data = {
        "kind": "Config",
        "users": [{"name": "me", "user": {"token": "planted"}}],
        "clusters": [{"cluster": {"server": "https://a:planted@h", "certificate-authority-data": "planted"}}],
        "metadata": {
            "annotations": {"kproxy.io/drain-timeout": "5s", "corp/note": "planted", "kproxy.io/x": "--token planted"},
            "managedFields": [{"manager": "planted"}],
        },
        "env": [{"name": "X", "value": "planted"}],
        "clientSecret": "planted",
        "ports": [80, None, True, 1.5],
        "empty": {"token": "", "password": None},
    }
    found = redacted(data)
    assert "planted" not in json.dumps(found)
    assert found["ports"] == [80, None, True, 1.5]
    assert found["empty"] == data["empty"]
    assert found["metadata"]["annotations"]["kproxy.io/drain-timeout"] == "5s"
    assert found["clusters"][0]["cluster"]["server"] == f"https://{REMOVED}@h"


def test_names_are_texts_too() -> None:
    assert redacted({"https://me:planted@h": 1}) == {f"https://{REMOVED}@h": 1}
