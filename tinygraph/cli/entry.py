"""`main` as a program: interrupted at any time, it ends with code 130 and no traceback."""

# The part of `signal` that is in C: what that imports would take time in which an interrupt is not
# seen to yet.
import _signal as signal  # type: ignore[import-not-found]
import os

__all__ = ["main"]

INTERRUPTED = 130


def main() -> int:
    """Run the command of this process and give its exit code.

    Before there is anything to tidy up, and while modules of others are half imported, an interrupt
    ends the process at once. Where interrupts are ignored, as under nohup, they stay ignored.

    Returns
    -------
    int
    """
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, _leave)
    from tinygraph.cli.commands import main as run

    try:
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if heeded:
            signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)
