from __future__ import annotations

import struct

from lab import sctp


def test_checksum_is_the_published_one() -> None:
    # RFC 3720, appendix B.4, and every other list of CRC-32C test vectors.
    assert sctp.crc32c(b"123456789") == struct.pack("<I", 0xE3069283)
    assert sctp.crc32c(bytes(32)) == struct.pack("<I", 0x8A9136AA)


def test_an_init_is_answered_by_the_cookie_that_its_sender_reads() -> None:
    hello = sctp.init(40000, 8080, tag=7)
    assert sctp.port_of(hello, (8080, 8081)) == 8080
    answer = sctp.init_ack(hello, "10.0.0.1:8080 10.0.0.2")
    assert sctp.cookie_of(answer, 40000, 7) == "10.0.0.1:8080 10.0.0.2"


def test_packets_of_others_are_left_alone() -> None:
    hello = sctp.init(40000, 8080, tag=7)
    answer = sctp.init_ack(hello, "x")
    assert sctp.port_of(hello, (8081,)) is None
    assert sctp.port_of(answer, (40000,)) is None
    assert sctp.cookie_of(hello, 40000, 7) is None
    assert sctp.cookie_of(answer, 40001, 7) is None
    assert sctp.cookie_of(answer, 40000, 8) is None
    assert sctp.port_of(hello[:20], (8080,)) is None
    assert sctp.cookie_of(answer[:20], 40000, 7) is None
