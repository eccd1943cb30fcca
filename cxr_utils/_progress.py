"""Progress of long work: one bar, or a board of several."""

import shutil
import sys
import time

from tqdm import tqdm


def progress(**options):
    """Returns a `tqdm` bar that reads alike in a notebook, a terminal and a log file.

    Args:
        **options: of `tqdm`: `total`, `desc`, `unit`, `unit_scale`.

    Returns:
        `tqdm.tqdm`, plain text on stdout (a notebook paints stderr red), renewed every two seconds.
    """
    return tqdm(file=sys.stdout, mininterval=2, **options)


class Bar:
    """A bar of a `Board`: `n` of `total` bytes are done, `initial` of it before; any one thread may raise `n`."""

    def __init__(self, label, total, counts):
        self.label, self.total, self.counts = label, total, counts
        self.n = self.initial = 0
        self.start = time.monotonic()

    def line(self, width=100):
        # Where there is little room, numbers rather than a bar.
        narrow = (
            "{desc}{percentage:3.0f}% {n_fmt}/{total_fmt} {remaining} {rate_fmt}" if width < 75 and self.total else None
        )
        return tqdm.format_meter(
            self.n,
            self.total or None,
            time.monotonic() - self.start,
            prefix=f"{self.label:<26}" if not narrow else f"{self.label} ",
            bar_format=narrow,
            unit="B",
            unit_scale=True,
            initial=self.initial,
            ncols=width,
        )


class Board:
    """Several bars and an overall one, drawn by one thread while others work.

    In a notebook they are one output that is renewed in place, in a terminal the last lines of the screen; a log file gets the
    notes and, every half minute, all lines.

    Args:
        total: bytes of the bars that count for the overall one.
        stream: where to write; stdout when `None`.
    """

    def __init__(self, total, stream=None):
        self._overall = Bar("all", total, counts=False)
        self._bars, self._ended, self._notes, self._shown = [], [], [], 0
        self._stream = stream or sys.stdout
        self._logged = time.monotonic()
        self._display = _notebook_output()

    def bar(self, label, total, counts=False):
        """Adds a `Bar`; those that `counts` make up the overall one."""
        self._bars.append(Bar(label, total, counts))
        return self._bars[-1]

    def end(self, bar, note=None):
        """Takes a bar away and leaves a line in its place."""
        self._bars.remove(bar)
        self._ended.append(bar)
        if note:
            self.note(note)

    def note(self, text):
        """Adds a line that stays."""
        self._notes.append(text)

    def draw(self, last=False):
        """Shows how things stand; `last` leaves only the notes and the overall bar."""
        bars = [] if last else list(self._bars)
        counting = [bar for bar in self._ended + self._bars if bar.counts]
        self._overall.n = sum(bar.n for bar in counting)
        self._overall.initial = sum(bar.initial for bar in counting)
        lines = [bar.line() for bar in [*bars, self._overall]]
        if self._display:
            self._display("\n".join(self._notes + lines))
            return
        notes, self._notes = self._notes, []
        if self._stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            lines = [bar.line(min(width, 100)) for bar in [*bars, self._overall]]
            up = f"\x1b[{self._shown}A\x1b[J" if self._shown else ""
            self._stream.write(up + "".join(f"{line}\n" for line in notes + lines))
            self._shown = len(lines)
        else:
            if last or time.monotonic() - self._logged > 30:
                self._logged = time.monotonic()
                notes += lines
            self._stream.write("".join(f"{line}\n" for line in notes))
        self._stream.flush()


def _notebook_output():
    """Returns a function that puts a text in one output of the running notebook cell, `None` outside of a notebook."""
    ipython = sys.modules.get("IPython")
    if not ipython or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    handle = ipython.display.DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)
    return lambda text: handle.update({"text/plain": text}, raw=True)
