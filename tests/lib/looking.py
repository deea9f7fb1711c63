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
    return sorted({float(x[0]) for x in ends if len(set(x)) == 1})


def words(fig):
    return " ".join(" ".join(t.get_text().split()) for t in fig.findobj(Text) if t.get_text())


def points(ax, prefix):
    return sum(len(c.get_offsets()) for c in ax.collections if c.get_label().startswith(prefix))
