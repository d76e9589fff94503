"""Certificates that openssl made, each with when it ends as openssl says it."""

from __future__ import annotations

from datetime import UTC, datetime

OF_THIS_CENTURY = """\
-----BEGIN CERTIFICATE-----
MIIBbDCCAROgAwIBAgIUYuM6pSFKNOumj8sj8DliZFiWZIUwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYTAeFw0yNjExMjkxNjAyMjlaFw0yNjExMzAxNjAyMjlaMAwx
CjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATdLnJRRgS0ueub
a3T9UFppFxvGNS0RF1Q4wHj91M9bhaNIQpuFkdPwZaOJKKJ8W9jbov1GhPmkh9eg
tVCPCmRro1MwUTAdBgNVHQ4EFgQUKdhpFfAbzYmJjwJ0nDGc7CeTBVswHwYDVR0j
BBgwFoAUKdhpFfAbzYmJjwJ0nDGc7CeTBVswDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNHADBEAiBMXmy1klvnkN0Q8GHqybt4PnBxYcT7b4uyfHbJw3gyGQIg
b41SB53wx69Vjk/aMfQU+R1uQ9w7JnnKcKC9ziQDtWI=
-----END CERTIFICATE-----
"""
"""Its end is a UTCTime."""
OF_A_LATER_ONE = """\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUVhv2M5b/UNCn0DEysSa9syjMOL8wCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBYjAgFw0yNjExMjkxNjAyMjlaGA8yMDgxMDkwMTE2MDIyOVow
DDEKMAgGA1UEAwwBYjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJIQDiE8lvct
aMlaWlwMKoCXAptjDh2Jn3U8RCzHjrgtIAr4K4MLunsuLjabvQq6nKJ0u66Xmc9a
KDj0SfXhIAGjUzBRMB0GA1UdDgQWBBSkLhOr0ecjBvVVLfbAKtfWwPHS4TAfBgNV
HSMEGDAWgBSkLhOr0ecjBvVVLfbAKtfWwPHS4TAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIEapasBs5mEDY4mtJ7CLvVN8ijdKdG7fb1FGY0+dtefx
AiA0w90GXcurLwhgMjaS5CstlWwwdjuKSOT1TaXiFCjm4g==
-----END CERTIFICATE-----
"""
"""Its end, after 2049, is a GeneralizedTime (RFC 5280 4.1.2.5)."""
ENDS = {
    OF_THIS_CENTURY: datetime(2026, 11, 30, 16, 2, 29, tzinfo=UTC).timestamp(),
    OF_A_LATER_ONE: datetime(2081, 9, 1, 16, 2, 29, tzinfo=UTC).timestamp(),
}
