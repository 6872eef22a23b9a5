"""What becomes of refusals, against a socket that answers as it is told."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest

from backends.nftables.encode import NEWSETELEM
from backends.nftables.kernel import MAX_ROUNDS, NftablesKernel, halved, only, without
from kproxy.core.document import BASE, Change, diff
from kproxy.core.values import Family
from kproxy.effects.netlink import WHOLE_BATCH
from kproxy.errors import ApplyRejected, ApplyTimeout, ObserveFailed
from kproxy.netlink.messages import Ack, Message
from kproxy.ports import Outcome
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import cluster_ip, endpoints, port, service

Sent = Sequence[tuple[int, int, bytes]]
SERVICES = [service(f"s{n}", port(cluster_ip(f"10.96.0.{n}"), cluster=endpoints("10.64.1.1"))) for n in range(1, 9)]
FIRST_LOAD = diff({}, compiled(*SERVICES).document)


class AnsweringSocket:
    """A NetlinkSocket whose batches are judged by a function; it remembers what was taken."""

    def __init__(self, judge: Callable[[Sent], list[Ack]]) -> None:
        self.judge = judge
        self.taken: list[Sent] = []
        self.tried = 0

    def batch(self, _: int, messages: Sent, *, commit: bool = True, **__: object) -> list[Ack]:
        self.tried += 1
        failures = self.judge(messages)
        if commit and not failures:
            self.taken.append(messages)
        return failures

    def dump(self, *_: object) -> list[Message]:
        raise OSError(errno.EINTR, "interrupted")

    def close(self) -> None:
        """Nothing to release."""


def kernel_that(judge: Callable[[Sent], list[Ack]]) -> tuple[NftablesKernel, AnsweringSocket]:
    socket = AnsweringSocket(judge)
    return NftablesKernel(Family.IPV4, socket), socket  # type: ignore[arg-type] # as much of a socket as is used


def refuse_where(needle: bytes) -> Callable[[Sent], list[Ack]]:
    def judge(messages: Sent) -> list[Ack]:
        return [
            Ack(index, errno.EINVAL, "no", 16 + payload.index(needle))
            for index, (kind, _, payload) in enumerate(messages)
            if kind == NEWSETELEM and needle in payload
        ]

    return judge


def test_the_rest_lands_without_the_service_that_is_refused() -> None:
    kernel, socket = kernel_that(refuse_where(b"shop/s3:http\0"))
    (refusal,) = kernel.apply(FIRST_LOAD).refusals
    assert refusal.owner == "shop/s3"
    assert refusal.what == (
        'element frontends/pod-cluster/any-masquerade-cluster { 10.96.0.3 . tcp . 80 comment "shop/s3:http" }'
    )
    assert refusal.reason == "Invalid argument (EINVAL): no"
    (taken,) = socket.taken
    text = b"".join(payload for _, _, payload in taken)
    assert b"shop/s3" not in text
    assert b"shop/s4:http" in text


def test_a_check_takes_nothing() -> None:
    kernel, socket = kernel_that(refuse_where(b"shop/s3:http\0"))
    assert [refusal.owner for refusal in kernel.check(FIRST_LOAD).refusals] == ["shop/s3"]
    assert not socket.taken


def test_halves_are_tried_where_nothing_is_named() -> None:
    limit = 3000

    def judge(messages: Sent) -> list[Ack]:
        too_big = sum(len(payload) for _, _, payload in messages if b"shop/" in payload) > limit // 5
        return [Ack(WHOLE_BATCH, errno.ENOMEM)] if too_big else []

    kernel, socket = kernel_that(judge)
    assert kernel.apply(FIRST_LOAD) == Outcome()
    assert len(socket.taken) > 1
    text = b"".join(payload for messages in socket.taken for _, _, payload in messages)
    assert all(f"shop/s{number}:http".encode() in text for number in range(1, 9))


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ERESTART])
def test_what_a_smaller_batch_would_meet_too_is_not_tried_again(error: int) -> None:
    kernel, socket = kernel_that(lambda _: [Ack(WHOLE_BATCH, error)])
    with pytest.raises(ApplyRejected, match="table ip kproxy"):
        kernel.apply(FIRST_LOAD)
    assert socket.tried == 1


def test_a_service_alone_that_nothing_is_said_about_is_an_error() -> None:
    kernel, socket = kernel_that(lambda _: [Ack(WHOLE_BATCH, errno.ENOMEM)])
    with pytest.raises(ApplyRejected, match="ENOMEM"):
        kernel.apply(FIRST_LOAD)
    assert not socket.taken


def test_a_refused_base_is_an_error_that_names_it() -> None:
    kernel, _ = kernel_that(lambda _: [Ack(0, errno.EBUSY, "", None)])
    with pytest.raises(ApplyRejected, match=r"table ip kproxy: .*EBUSY") as caught:
        kernel.apply(FIRST_LOAD)
    assert caught.value.owner == BASE


def test_a_kernel_that_refuses_ever_more_is_given_up() -> None:
    services = [
        service(f"s{n}", port(cluster_ip(f"10.96.1.{n}"), cluster=endpoints("10.64.1.1")))
        for n in range(MAX_ROUNDS + 5)
    ]
    change = only(diff({}, compiled(*services).document), frozenset(f"shop/s{n}" for n in range(MAX_ROUNDS + 5)))
    kernel, socket = kernel_that(lambda messages: [Ack(0, errno.EINVAL)] if messages else [])
    with pytest.raises(ApplyRejected):
        kernel.apply(change)
    assert socket.tried == MAX_ROUNDS + 1


def test_no_answer_leaves_the_state_unknown() -> None:
    def silent(_: Sent) -> list[Ack]:
        raise TimeoutError

    kernel, _ = kernel_that(silent)
    with pytest.raises(ApplyTimeout, match="no answer"):
        kernel.apply(FIRST_LOAD)


def test_a_batch_that_cannot_be_sent_is_halved() -> None:
    def too_long(messages: Sent) -> list[Ack]:
        if sum(len(payload) for _, _, payload in messages if b"shop/" in payload) > 600:
            raise OSError(errno.EMSGSIZE, "Message too long")
        return []

    kernel, socket = kernel_that(too_long)
    assert kernel.apply(FIRST_LOAD) == Outcome()
    assert len(socket.taken) > 1


def test_what_cannot_be_read_is_said() -> None:
    kernel, _ = kernel_that(lambda _: [])
    with pytest.raises(ObserveFailed, match="table ip kproxy cannot be read"):
        kernel.observe()


def test_halves_keep_what_is_shared_first_and_last() -> None:
    change = diff(compiled(*SERVICES[:4]).document, compiled(*SERVICES[4:]).document)
    first, second, last = halved(change)
    everything = {**first.added, **second.added, **last.added}
    assert everything.keys() == change.added.keys()
    assert {**first.removed, **second.removed, **last.removed}.keys() == change.removed.keys()
    assert not halved(only(change, frozenset({"shop/s1"})))
    assert not halved(Change({}, {}, {}))


def test_without_leaves_the_others() -> None:
    change = diff({}, compiled(*SERVICES).document)
    assert without(change, ["shop/s1"]).owners == change.owners - {"shop/s1"}
