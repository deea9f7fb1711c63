"""What is on a figure, and which tables it was drawn from."""

from matplotlib.text import Text


class Read(dict):
    """Tables by name that remember which were asked for."""

    def __init__(self, frames):
        super().__init__(frames)
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)


def all_axes(fig):
    return [ax for ax in fig.axes if ax.axison]


def lines(ax, prefix):
    return [line for line in ax.lines if str(line.get_label()).startswith(prefix)]


def baselines(ax):
    return sorted(float(line.get_ydata()[0]) for line in lines(ax, "_baseline"))


def vertical(ax):
    """Where vertical baselines stand."""
    ends = (line.get_xdata() for line in lines(ax, "_baseline"))
    return sorted(float(x[0]) for x in ends if len(set(x)) == 1)


def words(fig):
    return " ".join(" ".join(t.get_text().split()) for t in fig.findobj(Text) if t.get_text())


def points(ax, prefix):
    return sum(len(c.get_offsets()) for c in ax.collections if c.get_label().startswith(prefix))


def titled(fig, start):
    """The panel whose title starts so."""
    return next(ax for ax in fig.axes if ax.get_title(loc="left").startswith(start))


def has_median(fig):
    drawn = [m for ax in fig.axes for m in (*ax.lines, *ax.collections, *ax.patches)]
    return any(m.get_label() == "_median" for m in drawn)


def assert_texts_can_be_read(name, fig):
    """Of a figure that is laid out: 7 points or larger, on the page, and none over another."""
    renderer = fig.canvas.get_renderer()
    page = fig.bbox.padded(2)
    hidden = _ticks_out_of_view(fig)
    texts = dict.fromkeys(fig.findobj(Text))
    shown = [text for text in texts if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in shown) >= 7
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in shown if t not in hidden]
    for text, box in boxes:
        inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert inside, (name, text)
    for i, (a, first) in enumerate(boxes):
        for b, second in boxes[i + 1 :]:
            width = min(first.x1, second.x1) - max(first.x0, second.x0)
            height = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert width <= 1 or height <= 1, (name, a, b)


def _ticks_out_of_view(fig):
    """Matplotlib keeps labels of ticks that it does not draw."""
    hidden = set()
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        margin = 1e-9 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            inside = low - margin <= tick.get_loc() <= high + margin
            hidden |= set() if inside and axis.axes.axison else {tick.label1, tick.label2}
        hidden |= set() if axis.axes.axison else {axis.label}
    return hidden
