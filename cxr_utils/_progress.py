"""Progress bars for long work: a single bar, or a board of several bars."""

import shutil
import sys
import time

from tqdm import tqdm


def progress(**options):
    """Returns a `tqdm` bar that looks the same in a notebook, a terminal and a log file.

    Args:
        **options: options of `tqdm`, such as `total`, `desc`, `unit` and `unit_scale`.

    Returns:
        A `tqdm.tqdm` that writes plain text to stdout (a notebook shows stderr on a red background) and is updated at
        most every two seconds.
    """
    return tqdm(file=sys.stdout, mininterval=2, **options)


class Bar:
    """One bar of a `Board`.

    Only one thread may increase `n`.

    Attributes:
        label: string shown in front of the bar.
        total: int, bytes of the whole task; `None` if unknown.
        counts: bool, whether the bar is part of the board's total.
        n: int, bytes done so far.
        initial: int, how many of these bytes were already done at the start. They are left out of the rate.
    """

    def __init__(self, label, total, counts):
        self.label, self.total, self.counts = label, total, counts
        self.n = self.initial = 0
        self.start = time.monotonic()

    def line(self, width=100):
        """Returns the bar as one line of text of at most `width` characters."""
        # A narrow terminal has no space for a bar, so only numbers are shown.
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
    """Several bars and a total, drawn by one thread while other threads work.

    In a notebook, the bars are one output that is updated in place. In a terminal, they are the last lines of the
    screen. A log file contains the notes and, every half minute, all bars.

    Args:
        total: int, bytes of all bars that are part of the total.
        stream: text stream to write to; stdout when `None`.
    """

    def __init__(self, total, stream=None):
        self._total = Bar("total", total, counts=False)
        self._bars, self._ended, self._notes, self._shown = [], [], [], 0
        self._stream = stream or sys.stdout
        self._logged = time.monotonic()
        self._display = _notebook_output()

    def bar(self, label, total, counts=False):
        """Adds a `Bar` and returns it; `counts` makes it part of the total."""
        self._bars.append(Bar(label, total, counts))
        return self._bars[-1]

    def end(self, bar, note=None):
        """Removes a bar and, if `note` is given, adds this line."""
        self._bars.remove(bar)
        self._ended.append(bar)
        if note:
            self.note(note)

    def note(self, text):
        """Adds a line that stays visible."""
        self._notes.append(text)

    def draw(self, last=False):
        """Draws the current state; the `last` drawing shows only the notes and the total."""
        bars = [] if last else list(self._bars)
        counting = [bar for bar in self._ended + self._bars if bar.counts]
        self._total.n = sum(bar.n for bar in counting)
        self._total.initial = sum(bar.initial for bar in counting)
        lines = [bar.line() for bar in [*bars, self._total]]
        if self._display:
            self._display("\n".join(self._notes + lines))
            return
        notes, self._notes = self._notes, []
        if self._stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            lines = [bar.line(min(width, 100)) for bar in [*bars, self._total]]
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
    """Returns a function that shows a text in one output of the running notebook cell; `None` outside a notebook."""
    ipython = sys.modules.get("IPython")
    if not ipython or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    handle = ipython.display.DisplayHandle()
    handle.display({"text/plain": ""}, raw=True)
    return lambda text: handle.update({"text/plain": text}, raw=True)
