"""What is run."""

from __future__ import annotations

from eagerly import current_task, task

__all__ = ["plain", "trivial", "until_asked"]

ENDLESS = 60


def plain(x: int) -> int:
    return x + 1


trivial = task(plain, name="trivial")


@task
def until_asked() -> None:
    """Sleeps until it is asked to stop."""
    call = current_task()
    assert call is not None
    call.sleep(ENDLESS)
