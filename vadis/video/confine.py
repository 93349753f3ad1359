"""What a process gives up before it opens a stranger's file: memory, time, network, programs, other files.

The decoders of FFmpeg are a million lines of C that parse whatever a stranger sends. A process that has
called `confine` can still decode, but where a file takes it over, that gets the attacker little: no
privilege is needed for any of this. Limits of resources hold on Linux and (but for memory) on macOS. On
Linux two walls of the kernel are added: Landlock (5.13 and later), after which only the video and the
Python installation can be read, and a seccomp filter that refuses the network, new processes and
programs, writing files, and touching other processes. The filter lists what is refused, so it is a second
wall and no proof. Windows has none of these: there, only killing the process on time remains.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable

_EPERM, _ENOSYS = 1, 38

# Syscall numbers, Linux: (x86_64, aarch64), None where the machine has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # network
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "connect": (42, 203),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # programs and processes
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "unshare": (272, 97),
    "setns": (308, 268),
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "prlimit64": (302, 261),
    # files
    "creat": (85, None),
    "truncate": (76, 45),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    # doors into the kernel that a decoder has no use for
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
}
_UNKNOWN: dict[str, tuple[int | None, int | None]] = {
    # answered as if the kernel were too old: glibc then falls back to calls that the filter can judge
    "clone3": (435, 435),
    "openat2": (437, 437),
    "io_uring_setup": (425, 425),
}
_CLONE, _OPEN, _OPENAT, _TGKILL, _SECCOMP = (56, 220), (2, None), (257, 56), (234, 131), (317, 277)
_CLONE_THREAD = 0x00010000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS_OF_ABI = {
    1: (1 << 13) - 1,
    2: (1 << 14) - 1,
    3: (1 << 15) - 1,
    4: (1 << 15) - 1,
    5: (1 << 16) - 1,
}


def confine(readable: Iterable[str], *, memory_bytes: int | None, cpu_seconds: float | None) -> list[str]:
    """Give up what decoding does not need; cannot be undone. Returns the names of the walls that stand.

    readable: files and folders that stay readable besides the Python installation. memory_bytes: address
    space in bytes. cpu_seconds: processor time of all threads, after which the kernel kills the process.
    Names: "memory", "cpu", "no_core", "files", "system_calls". Call it before any thread is started.
    """
    walls = _limit_resources(memory_bytes, cpu_seconds)
    if sys.platform != "linux":
        return walls
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no debugger of the same user, no core
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS, which both walls ask for
        return walls
    python = [*sys.path, sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)]  # noqa: PTH120
    if _landlock(libc, [*readable, *python]):
        walls.append("files")
    if _seccomp(libc):
        walls.append("system_calls")
    return walls


def _limit_resources(memory_bytes: int | None, cpu_seconds: float | None) -> list[str]:
    try:
        import resource
    except ImportError:  # Windows
        return []

    def limit(kind: int, value: int) -> bool:
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):  # macOS refuses some of them
            return False
        return True

    walls = []
    if limit(resource.RLIMIT_CORE, 0):
        walls.append("no_core")
    limit(resource.RLIMIT_NOFILE, 256)
    limit(resource.RLIMIT_FSIZE, 2**16)  # what it may write to its error log
    if memory_bytes is not None and sys.platform == "linux" and limit(resource.RLIMIT_AS, memory_bytes):
        walls.append("memory")
    if cpu_seconds is not None and limit(resource.RLIMIT_CPU, max(1, int(cpu_seconds) + 1)):
        walls.append("cpu")
    return walls


def _landlock(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    """Make everything but `readable` unreadable, nothing writable. False where the kernel has no Landlock."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = _FILE_RIGHTS_OF_ABI[min(version, 5)]
    # abi 4 adds TCP (bind, connect), abi 6 abstract sockets and signals to processes outside
    attributes = struct.pack("QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        for path in {os.path.abspath(path) for path in readable if path}:  # noqa: PTH100
            with contextlib.suppress(OSError):  # sys.path names folders that do not exist
                folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
                try:
                    allowed = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112
                    libc.syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", allowed, folder), 0)
                finally:
                    os.close(folder)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def filter_program(machine: str, process_id: int) -> bytes:
    """The seccomp filter for a machine ("x86_64" or "aarch64") as BPF instructions, 8 bytes each."""
    column = 0 if machine == "x86_64" else 1
    load, equal, above, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | _EPERM, 0x80000000
    low_half = [16 + 8 * position for position in range(6)]  # of each argument, little-endian
    program: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, _AUDIT_ARCH[machine]),
        (answer, 0, 0, kill),
        (load, 0, 0, 0),  # the number of the call
    ]
    if machine == "x86_64":
        program += [(above, 0, 1, 0x40000000), (answer, 0, 0, refuse)]  # the x32 doubles of every call
    for calls, verdict in ((_REFUSED, refuse), (_UNKNOWN, 0x00050000 | _ENOSYS)):
        for numbers in calls.values():
            if numbers[column] is not None:
                program += [(equal, 0, 1, numbers[column] or 0), (answer, 0, 0, verdict)]

    def judge(number: int | None, argument: int, test: int, value: int, then: int, otherwise: int) -> None:
        if number is not None:
            program.append((equal, 0, 4, number))
            program.append((load, 0, 0, low_half[argument]))
            program.append((test, 0, 1, value))
            program.extend([(answer, 0, 0, then), (answer, 0, 0, otherwise)])

    judge(_CLONE[column], 0, any_bit, _CLONE_THREAD, allow, refuse)  # threads, no processes
    judge(_OPEN[column], 1, any_bit, _WRITES, refuse, allow)
    judge(_OPENAT[column], 2, any_bit, _WRITES, refuse, allow)
    judge(_TGKILL[column], 0, equal, process_id, allow, refuse)  # abort() signals itself
    program.append((answer, 0, 0, allow))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Install the filter for all threads. False where the machine or the kernel does not take it."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    if machine not in _AUDIT_ARCH or struct.calcsize("P") != 8:
        return False
    program = filter_program(machine, os.getpid())

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    held = Program(len(program) // 8, program)
    number = _SECCOMP[0 if machine == "x86_64" else 1]
    return bool(libc.syscall(number, 1, 1, ctypes.byref(held)) == 0)  # SET_MODE_FILTER, all threads
