"""Take rights away from the parser process, so that a hostile file that controls it gains next to nothing.

`confine` is called once, after all imports and before the first file. From then on the process

- can start no program, and would gain no rights by one (`no_new_privs`),
- can open only the parser's own code and the files that its format names, for reading (Landlock),
- can make no socket, and inspect no other process (seccomp),
- cannot raise its hard limits (see `limits`).

The file to read comes as an open descriptor. Landlock needs Linux 5.13, and seccomp Linux 3.5, on x86-64 or ARM64. If
the kernel lacks one of them, the log names it, and the parser works without it.

Sources: https://docs.kernel.org/userspace-api/landlock.html,
https://docs.kernel.org/userspace-api/seccomp_filter.html. The packages for both on PyPI are pre-releases or need a
library of the system, hence the calls by ctypes.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

# Constants of <linux/prctl.h>, <linux/seccomp.h> and <linux/landlock.h>.
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

# Landlock's system calls have the same numbers everywhere.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# How many file rights each version of Landlock knows, and the versions that added TCP and scopes. A ruleset may only
# name rights that the kernel knows.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_MAX_FILE_RIGHTS: Final = 16
_TCP_SINCE, _SCOPES_SINCE = 4, 6

# System calls that no parser needs, by machine, with their numbers in <asm/unistd.h>.
_CALLS: Final = {
    "x86_64": {
        "socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "socketpair": 53, "accept4": 288,
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "kill": 62, "tkill": 200, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_getfd": 438, "unshare": 272, "setns": 308,
        "mount": 165, "umount2": 166, "open_by_handle_at": 304, "add_key": 248, "request_key": 249,
        "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "accept": 202, "bind": 200, "listen": 201, "socketpair": 199,
        "accept4": 242, "execve": 221, "execveat": 281, "kill": 129, "tkill": 130, "ptrace": 117,
        "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_getfd": 438, "unshare": 97, "setns": 268,
        "mount": 40, "umount2": 39, "open_by_handle_at": 265, "add_key": 217, "request_key": 218,
        "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425,
    },
}  # fmt: skip
# Identifies the architecture of a call (<linux/audit.h>): numbers of calls differ between them.
_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE3: Final = 435
_CLONE_THREAD: Final = 0x00010000
# Numbers from here on belong to the x32 interface, which would offer the same calls under other numbers.
_X32: Final = 0x40000000

# Return values of a seccomp filter, instructions of classic BPF, and offsets in `struct seccomp_data`.
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _BIT_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def confine(readable: Iterable[str | Path] = ()) -> list[str]:
    """Take the rights away, which cannot be undone.

    Args:
        readable: Files and folders that may still be read, in addition to the code that is loaded.

    Returns:
        The parts that could not be done, each with the reason; empty if all were done.
    """
    if sys.platform != "linux":
        return [f"Landlock and seccomp (there are none on {platform.system()})"]
    libc = ctypes.CDLL(None, use_errno=True)
    missing = []
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return [f"no_new_privs, Landlock and seccomp ({os.strerror(ctypes.get_errno())})"]
    for name, restrict in (("Landlock", partial(_landlock, readable=readable)), ("seccomp", _seccomp)):
        try:
            restrict(libc)
        except OSError as error:
            missing.append(f"{name} ({error.strerror})")
    return missing


def code_folders() -> set[str]:
    """Return the folders of the interpreter and of the loaded modules, with links resolved."""
    found = {os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    for module in list(sys.modules.values()):
        if file := getattr(module, "__file__", None):
            found.add(os.path.realpath(Path(file).parent))
            found.add(str(Path(os.path.realpath(file)).parent))
    # Shared libraries that a loaded one opens when it is first used, and time zones.
    found |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"}
    return {place for place in found if place not in ("/", "/etc", "/home", "/root", "/tmp")}


def _landlock(libc: ctypes.CDLL, readable: Iterable[str | Path]) -> None:
    version = _checked(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION))
    rights = (1 << _FILE_RIGHTS.get(version, _MAX_FILE_RIGHTS)) - 1
    tcp = 0b11 if version >= _TCP_SINCE else 0
    scopes = 0b11 if version >= _SCOPES_SINCE else 0
    # Older versions refuse a structure that is longer than theirs, unless the rest is zero.
    attributes = struct.pack("=QQQ", rights, tcp, scopes)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for place in {*code_folders(), *map(str, readable)}:
            try:
                opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                allowed = _READ_FILE | _READ_DIR if Path(place).is_dir() else _READ_FILE
                _checked(
                    libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, opened), 0)
                )
            finally:
                os.close(opened)
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _seccomp(libc: ctypes.CDLL) -> None:
    machine = platform.machine()
    if machine not in _CALLS or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"it is not set up for {machine}")
    program = _filter(machine)
    instructions = ctypes.create_string_buffer(b"".join(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    given = Program(len(program), ctypes.addressof(instructions))
    _checked(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0))


def _filter(machine: str) -> list[bytes]:
    """Return the filter as instructions for the kernel. Calls that are not refused are allowed."""
    refuse = _step(_RETURN, _ERRNO | errno.EPERM)
    steps = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        refuse,
        _step(_LOAD, _NUMBER_AT),
    ]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), refuse]
    for number in _CALLS[machine].values():
        steps += [_step(_EQUAL, number, 0, 1), refuse]
    # A new thread is allowed, and a new process is not. The flags of `clone3` are in memory, which a filter cannot
    # read, so it is reported as missing. The C library then uses `clone`, whose flags are an argument.
    steps += [_step(_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    steps += [
        _step(_EQUAL, _CLONE[machine], 0, 3),
        _step(_LOAD, _FIRST_ARGUMENT_AT),
        _step(_BIT_SET, _CLONE_THREAD, 1, 0),
        refuse,
        _step(_RETURN, _ALLOW),
    ]
    return steps


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        what = "the kernel lacks it, or it is switched off"
        raise OSError(number, what if number in (errno.ENOSYS, errno.EOPNOTSUPP) else os.strerror(number))
    return result
