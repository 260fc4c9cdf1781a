"""Run a program that may touch one folder and nothing else: where submissions run.

    python -I -m pbe_lite.classroom.sandbox FOLDER PROGRAM [ARGUMENT ...]

Linux's Landlock (5.13 and newer) lets a process give up rights for itself and all that it
starts; it needs no root and no container.  The program may read Python, its libraries and
this package, write in FOLDER, and that is all: it cannot even read the gradebook, nor
signal a process outside.  What Landlock does not do: it does not close the network, and
it guards what files hold, not their names, modes and times.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from pbe_lite.config import DATA

with contextlib.suppress(ImportError):  # Windows has none; it can hand out, not confine
    import resource

CREATE, ADD_RULE, RESTRICT = 444, 445, 446  # system calls, the same on all machines
DIE_WITH_PARENT, NO_NEW_PRIVILEGES, ADOPT_ORPHANS = 1, 38, 36  # of prctl
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
TRUNCATE = 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
ON_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE  # all else is for folders
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/sys/devices/system", "/sys/fs/cgroup",
          "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
          *(f"/proc/{name}" for name in "cpuinfo meminfo stat sys filesystems".split()),
          *(f"/etc/{name}" for name in "ld.so.cache localtime fonts passwd hosts "
            "nsswitch.conf mime.types ssl".split())]
GIGABYTE = 2 ** 30
LIMITS = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": GIGABYTE // 16, "RLIMIT_CPU": 1800,
          "RLIMIT_DATA": 8 * GIGABYTE}  # bytes, seconds


class _Ruleset(ctypes.Structure):
    _fields_ = [("filesystem", ctypes.c_uint64), ("network", ctypes.c_uint64),
                ("scoped", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def _system_call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def control(option, value):
    """Linux's prctl for this process; does nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def version():
    """Landlock's version on this system, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    try:
        return _system_call(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def readable():
    """What a program must be able to read: {path: rights}."""
    home = DATA.parent
    paths = [*SYSTEM, f"/proc/{os.getpid()}", sys.prefix, sys.base_prefix,
             *(p for p in sys.path if p), home / "pbe_lite", DATA]
    rights = {os.path.realpath(p): READ for p in paths}
    rights[str(home)] = READ_DIR  # an import lists the folder that it looks in
    return rights


def confine(folder):
    """Give up every right of this process but to read what `readable` names and to do
    anything in `folder`.

    Raises OSError where the system has no Landlock."""
    known = version()
    if not known:
        raise OSError("this system cannot confine a program: it has no Landlock")
    every = (1 << min(12 + known, 15)) - 1  # rights grew with versions 2 and 3
    attributes = _Ruleset(every, 0, 3 if known >= 6 else 0)
    size = 24 if known >= 6 else 8
    rules = _system_call(CREATE, ctypes.byref(attributes), ctypes.c_size_t(size),
                         ctypes.c_uint32(0))
    allowed = {**readable(), os.path.realpath(folder): every,
               "/dev/null": READ_FILE | WRITE_FILE}
    for path, rights in allowed.items():
        _allow(rules, path, rights & every)
    control(NO_NEW_PRIVILEGES, 1)
    _system_call(RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0))
    os.close(rules)


def _allow(rules, path, rights):
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this system
        return
    if not os.path.isdir(path):
        rights &= ON_A_FILE
    if rights:
        rule = _Beneath(rights, parent)
        _system_call(ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), ctypes.byref(rule),
                     ctypes.c_uint32(0))
    os.close(parent)


def limit(limits=LIMITS):
    """Set the resource limits that this system knows, never above what is set already."""
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


def main(arguments):
    folder, *program = arguments
    control(DIE_WITH_PARENT, signal.SIGKILL)
    limit()
    confine(Path(folder))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
