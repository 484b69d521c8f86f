"""The program between a process of ours and a command: it starts the command, tells how it ended, and ends with us.

Run as a script by an isolated interpreter: ``_command_guard.py REPORT LC_CTYPE PROGRAM ARGUMENT...``. Its standard
input is a pipe that nobody writes to. When that closes, because the run is over or our process has been killed, it
kills the command and all of the process group, itself included. It leads that group, so a signal to the group reaches
it too, and it ignores that, except for SIGSTOP: then it goes on when our process continues it, or ends, on Linux. It
imports next to nothing, as it is started for every command.
"""

import os
import select
import sys

TYPE_CHECKING = False  # as in `typing`, whose import would take longer than all else here, like that of `signal`
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

NOWHERE = -1
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Start the command, and wait for its end, or for ours."""
    report, ctype, program, *arguments = sys.argv[1:]
    fd = int(report)
    os.set_inheritable(fd, False)
    _be_continued()
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    # Functions, as what is ignored would be ignored by the command too.
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, _nothing)
        except (OSError, ValueError):
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    problem, fail = os.pipe()
    child = os.fork()
    if child == 0:
        _become(program, arguments, fail, unset_ctype=ctype == "0")
    os.close(fail)
    if errno := os.read(problem, 32):  # closed by the kernel when the command has begun
        os.waitpid(child, 0)
        os.write(fd, b"error " + errno)
        return
    while True:
        ready, _, _ = select.select((0, told), (), ())
        if told in ready:
            os.read(told, 512)
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                os.write(fd, b"exit %d" % code if code >= 0 else b"signal %d" % -code)
                break
        if 0 in ready:
            os.kill(child, signal.SIGKILL)  # which may have left the group
            break
    os.killpg(0, signal.SIGKILL)


def _be_continued() -> None:
    """Have the kernel continue this process when its parent ends, however it was paused."""
    if sys.platform == "linux":
        try:
            import _ctypes  # `ctypes` would take as long as all else here

            prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # this process
            _ctypes.call_function(prctl, (PR_SET_PDEATHSIG, int(signal.SIGCONT)))
        except (ImportError, AttributeError, OSError):  # this Python has been built without it
            pass


def _nothing(*_: object) -> None:
    pass


def _become(program: str, arguments: list[str], fail: int, *, unset_ctype: bool) -> None:
    try:
        signal.set_wakeup_fd(NOWHERE)
        for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and so would the command
        if unset_ctype:  # which this interpreter has set
            os.environ.pop("LC_CTYPE", None)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(program, arguments)
    except OSError as error:
        os.write(fail, b"%d" % (error.errno or 0))
    finally:
        os._exit(127)


if __name__ == "__main__":
    main()
