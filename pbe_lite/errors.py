"""What a command says when it gives up: one line, and no traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_line() -> Iterator[None]:
    """`with one_line():` what a user can mend ends the program with `error: ...` and exit
    code 1.  Anything else is a fault of the program, and keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit("error: " + " ".join(str(error).split()))
