from __future__ import annotations

import pytest

from kproxy.config import Config, read_config
from kproxy.config.listeners import healthz_listener, metrics_listener
from kproxy.errors import ConfigError

PROXY = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
OWN = "---\napiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\n"


def read(proxy: str = "", own: str = "") -> Config:
    return read_config(f"{PROXY}{proxy}\n{OWN}{own}\n", "file")


@pytest.mark.parametrize(
    ("proxy", "own", "healthz", "metrics"),
    [
        ("", "", "0.0.0.0:10256", "127.0.0.1:10249"),
        ('bindAddress: "::"', "", "[::]:10256", "[::1]:10249"),
        ("bindAddress: 192.0.2.1", "", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("bindAddress: 2001:db8::1", "", "[::]:10256", "[::1]:10249"),
        ("healthzBindAddress: 192.0.2.1", "", "192.0.2.1:10256", "127.0.0.1:10249"),
        ("healthzBindAddress: 192.0.2.1:80", "", "192.0.2.1:80", "127.0.0.1:10249"),
        ('metricsBindAddress: "::1"', "", "0.0.0.0:10256", "[::1]:10249"),
        ('metricsBindAddress: "[2001:DB8::0]:99"', "", "0.0.0.0:10256", "[2001:db8::]:99"),
        ('healthzBindAddress: ""', "", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("healthzBindAddress: 192.0.2.1:80", 'healthzBindAddress: ""', "None", "127.0.0.1:10249"),
        ("metricsBindAddress: 192.0.2.1:80", 'metricsBindAddress: ""', "0.0.0.0:10256", "None"),
        ("metricsBindAddress: 192.0.2.1:80", "metricsBindAddress: 192.0.2.2:81", "0.0.0.0:10256", "192.0.2.2:81"),
    ],
)
def test_where_they_are(proxy: str, own: str, healthz: str, metrics: str) -> None:
    config = read(proxy, own)
    assert (str(healthz_listener(config)), str(metrics_listener(config))) == (healthz, metrics)


@pytest.mark.parametrize("text", ["localhost:80", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:x", "80"])
def test_what_is_no_listener(text: str) -> None:
    for document in (f'healthzBindAddress: "{text}"', f'metricsBindAddress: "{text}"'):
        with pytest.raises(ConfigError, match=r"BindAddress.* is not allowed: it must be IP:port"):
            read(document)
        with pytest.raises(ConfigError, match=r"BindAddress.* is not allowed: it must be IP:port"):
            read(own=document)


def test_loopback_is_told_from_the_rest() -> None:
    assert [one.is_loopback for one in (healthz_listener(Config()), metrics_listener(Config())) if one] == [False, True]
