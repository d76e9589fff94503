"""Runs a command with what systemd/ai-node.service forbids, where systemd itself is not to be had.

    python confined.py SYSTEM_CALL,SYSTEM_CALL,... COMMAND ARGUMENT ...

The calls named are allowed, all others fail with EPERM; no memory is ever both writable and
executable. So systemd does it too: libseccomp for SystemCallFilter, and for
MemoryDenyWriteExecute what prctl(PR_SET_MDWE) does since Linux 6.3.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refuse_executable_memory() -> None:
    """Let memory be executable or writable, and never first the one and then the other."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_MDWE (Linux 6.3 or later has it)")


def allow_only(calls: list[str]) -> None:
    """Let all system calls but these fail."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(_ERRNO | errno.EPERM))
    for call in calls:
        number = seccomp.seccomp_syscall_resolve_name(call.encode("ascii"))
        if number >= 0:  # it is one of this architecture
            seccomp.seccomp_rule_add(rules, _ALLOW, number, 0)
    if seccomp.seccomp_load(rules):
        raise OSError("seccomp_load")


if __name__ == "__main__":
    refuse_executable_memory()
    allow_only(sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
