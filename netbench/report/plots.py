"""Plots as inline SVG: curves with bands, ratios with intervals, single runs, scaling. Colours follow the page's theme.

Matplotlib draws with marker colours that are no real colours; they are replaced by CSS variables, so that one drawing
serves light, dark and print.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullFormatter, NullLocator

from netbench.judge.stats import Values, median_band
from netbench.judge.study import Comparison, Series, steady_seed
from netbench.judge.verdict import bytes_in_words
from netbench.report.words import metric_in_words

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "★")
_TEXT, _GRID, _MARGIN, _GROUND = "#010203", "#040506", "#070809", "#0a0b0c"
_THEME = {_TEXT: "var(--text)", _GRID: "var(--grid)", _MARGIN: "var(--margin)", _GROUND: "var(--card)"}
_SIZE = (5.2, 3.1)
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _GRID,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


@dataclass(frozen=True)
class Look:
    """Which colour and marker each place has on the whole page."""

    places: Sequence[str]

    def colour(self, place: str) -> str:
        """The stand-in that becomes ``var(--place-N)``."""
        return f"#00ff{self.places.index(place) % len(MARKERS):02x}"

    def marker(self, place: str) -> str:
        """The marker's name in matplotlib."""
        return MARKERS[self.places.index(place) % len(MARKERS)]


def curves(series: Sequence[Series], metric: str, unit: str, look: Look, seed: int) -> str:
    """Median over message size with 95 % bands, one line a place."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        every: set[int] = set()
        for one in series:
            sizes, values = one.table(metric)
            if not values.size:
                continue
            known = [int(size or 0) for size in sizes]
            every.update(known)
            xs, colour = _positions(known), look.colour(one.place)
            axes.plot(xs, np.median(values, axis=0), color=colour, marker=look.marker(one.place), markersize=3.2)
            if len(values) > 1:
                low, high = median_band(values, steady_seed(seed, one.key, one.place, metric))
                axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.set_yscale("log")
        _plain_log(axes)
        _size_axis(axes, sorted(every))
        _title(axes, f"median {metric_in_words(metric)}, {unit}")
        return _svg(figure, look, f"{series[0].key}{metric}curves")


def ratios(made: Sequence[Comparison], look: Look, margin: float) -> str:
    """The ratio to the baseline for each size with its interval; hollow where the comparison was refused."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        every = sorted({int(size or 0) for c in made for size in c.sizes})
        _margin(axes, margin)
        for i, comparison in enumerate(made):
            shift = 2 ** (0.16 * (i - (len(made) - 1) / 2))
            xs = np.array(_positions([int(size or 0) for size in comparison.sizes])) * shift
            _errors(axes, xs, comparison, look, with_line=True)
        _size_axis(axes, every)
        _ratio_axis(axes, made, margin)
        return _svg(figure, look, f"{made[0].key}{made[0].metric}ratios")


def runs(series: Sequence[Series], metric: str, unit: str, look: Look, seed: int) -> str:  # noqa: ARG001 - as `curves`
    """Every single run as a point, its median as a bar: for benchmarks with one figure a run."""
    with mpl.rc_context(_STYLE):
        shown = [(one.place, one.table(metric)[1]) for one in series]
        shown = [(place, values[:, 0]) for place, values in shown if values.size]
        figure, axes = _figure([place for place, _ in shown])
        for row, (place, values) in enumerate(shown):
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            colour = look.colour(place)
            axes.scatter(values, row + spread, s=16, color=colour, alpha=0.65, marker=look.marker(place), linewidths=0)
            axes.plot([np.median(values)] * 2, [row - 0.34, row + 0.34], color=_TEXT, linewidth=1.8)
        axes.set_yticks(range(len(shown)), [place for place, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        joined = np.concatenate([values for _, values in shown])
        if joined.min() > 0 and joined.max() > 3 * joined.min():
            axes.set_xscale("log")
            _plain_log(axes, axis="x")
        _title(axes, f"{metric_in_words(metric)} of every run, {unit} (bar: median)")
        return _svg(figure, look, f"{series[0].key}{metric}runs")


def single_ratios(made: Sequence[Comparison], look: Look, margin: float) -> str:
    """One ratio a place with its interval, lying down so that the names can be read."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure([c.other.place for c in made])
        axes.axvspan(1 - margin, 1 + margin, color=_MARGIN, linewidth=0)
        axes.axvline(1, color=_TEXT, linewidth=0.8)
        for row, comparison in enumerate(made):
            for judgement in comparison.verdict.judgements:
                found, place = judgement.interval, comparison.other.place
                fill = _GROUND if comparison.verdict.overall == "refused" else look.colour(place)
                axes.errorbar(
                    found.ratio,
                    row,
                    xerr=[[found.ratio - found.low], [found.high - found.ratio]],
                    color=look.colour(place),
                    marker=look.marker(place),
                    markersize=7,
                    markerfacecolor=fill,
                    capsize=4,
                )
        axes.set_yticks(range(len(made)), [c.other.place for c in made])
        axes.set_ylim(len(made) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        low, high = _reach(made, margin)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"×{x:g}"))
        axes.locator_params(axis="x", nbins=4)
        _title(axes, _ratio_title(made, margin))
        return _svg(figure, look, f"{made[0].key}{made[0].metric}single")


def scaling(
    by_place: Mapping[str, Sequence[Series]], metric: str, unit: str, look: Look, seed: int, *, ideal: bool
) -> str:
    """Median over the number of nodes with bands; with `ideal` also what perfect scaling of the baseline would be."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        counts = sorted({one.key.node_count for held in by_place.values() for one in held})
        for position, (place, held) in enumerate(by_place.items()):
            ordered = sorted((one for one in held if one.records), key=lambda one: one.key.node_count)
            tables = [(one.key.node_count, one.table(metric)[1]) for one in ordered]
            tables = [(nodes, values) for nodes, values in tables if values.size]
            if not tables:
                continue
            nodes = [n for n, _ in tables]
            middle = [float(np.median(values)) for _, values in tables]
            bands = [_band(values, steady_seed(seed, place, n)) for n, values in tables]
            if position == 0 and ideal:
                axes.plot(
                    counts, [middle[0] * nodes[0] / n for n in counts], color=_GRID, linestyle="--", linewidth=1.2
                )
            axes.plot(nodes, middle, color=look.colour(place), marker=look.marker(place))
            axes.fill_between(
                nodes, [b[0] for b in bands], [b[1] for b in bands], color=look.colour(place), alpha=0.18, linewidth=0
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        _plain_log(axes)
        _fixed(axes, "x", counts, [str(n) for n in counts])
        axes.set_xlabel("nodes (dashed: perfect scaling of the baseline)" if ideal else "nodes")
        _title(axes, f"median {metric_in_words(metric)}, {unit}")
        return _svg(figure, look, f"{metric}scaling{'-'.join(by_place)}")


def scaling_ratios(made: Sequence[Comparison], look: Look, margin: float) -> str:
    """The ratio to the baseline over the number of nodes."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure()
        _margin(axes, margin)
        places = list(dict.fromkeys(c.other.place for c in made))
        counts = sorted({c.key.node_count for c in made})
        for comparison in made:
            place = comparison.other.place
            shift = 2 ** (0.1 * (places.index(place) - (len(places) - 1) / 2))
            _errors(axes, np.array([comparison.key.node_count * shift]), comparison, look, with_line=False)
        axes.set_xscale("log", base=2)
        _fixed(axes, "x", counts, [str(n) for n in counts])
        axes.set_xlabel("nodes")
        _ratio_axis(axes, made, margin)
        return _svg(figure, look, f"{made[0].metric}scaling-ratios{made[0].key.name}")


def _figure(names: Sequence[str] = ()) -> tuple[Figure, Axes]:
    """Empty axes; with `names`, rows with room for them on the left. Matplotlib's own layout would double the time."""
    height = min(_SIZE[1], 0.85 + 0.42 * len(names)) if names else _SIZE[1]
    figure = Figure(figsize=(_SIZE[0], height))
    room = max((len(name) for name in names), default=0) * 0.0165
    below = 0.3 if names else 0.55
    figure.subplots_adjust(left=max(0.11, 0.03 + room), right=0.96, bottom=below / height, top=1 - 0.4 / height)
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(which="both", length=0)
    return figure, axes


def _title(axes: Axes, text: str) -> None:
    """Above the whole drawing, so that long names beside the axes do not push it out."""
    figure = axes.get_figure(root=True)
    if figure:
        figure.suptitle(text, x=0.01, y=1 - 0.06 / figure.get_figheight(), ha="left", va="top", fontsize=11.5)


def _band(values: Values, seed: int) -> tuple[float, float]:
    if len(values) < 2:
        return float(values[0, 0]), float(values[0, 0])
    low, high = median_band(values[:, :1], seed)
    return float(low[0]), float(high[0])


def _positions(sizes: Sequence[int]) -> list[float]:
    """Places on a logarithmic axis; size 0 stands one step left of 1."""
    return [float(size) if size else 0.5 for size in sizes]


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    usual = [size for size in (0, 32, 1024, 32768, 1048576) if size in sizes]
    wanted = usual if len(usual) > 3 else list(sizes[:: len(sizes) // 6 + 1])
    _fixed(axes, "x", _positions(wanted), [bytes_in_words(size).replace(" ", "\u00a0") for size in wanted])
    axes.set_xlabel("message size")


def _fixed(axes: Axes, which: str, places: Sequence[float], labels: Sequence[str]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(labels)))
    axis.set_minor_locator(NullLocator())


def _plain_log(axes: Axes, axis: str = "y") -> None:
    """Decades as plain numbers; in between only where there is less than one decade."""
    which = axes.yaxis if axis == "y" else axes.xaxis
    low, high = axes.get_ylim() if axis == "y" else axes.get_xlim()
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}".replace(",", "\u202f"))
    which.set_major_formatter(plain)
    which.set_minor_formatter(NullFormatter())
    if high < 30 * low:
        fine = (1, 1.5, 2, 3, 5, 7) if high < 4 * low else (1, 2, 5)
        steps = [m * 10.0**e for e in range(-3, 8) for m in fine if low <= m * 10.0**e <= high]
        which.set_major_locator(FixedLocator(steps))


def _margin(axes: Axes, margin: float) -> None:
    axes.axhspan(1 - margin, 1 + margin, color=_MARGIN, linewidth=0)
    axes.axhline(1, color=_TEXT, linewidth=0.8)


def _errors(axes: Axes, xs: Values, comparison: Comparison, look: Look, *, with_line: bool) -> None:
    found = [j.interval for j in comparison.verdict.judgements]
    if not found:
        return
    middle = np.array([i.ratio for i in found])
    below, above = middle - np.array([i.low for i in found]), np.array([i.high for i in found]) - middle
    colour = look.colour(comparison.other.place)
    if with_line:
        axes.plot(xs, middle, color=colour, linewidth=0.9, alpha=0.6)
    axes.errorbar(
        xs,
        middle,
        yerr=[below, above],
        color=colour,
        marker=look.marker(comparison.other.place),
        markerfacecolor=_GROUND if comparison.verdict.overall == "refused" else colour,
        linestyle="none",
        elinewidth=1.1,
        markersize=3.6 if with_line else 6,
    )


def _ratio_axis(axes: Axes, made: Sequence[Comparison], margin: float) -> None:
    axes.set_ylim(*_reach(made, margin))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"×{y:g}"))
    _title(axes, _ratio_title(made, margin))


def _ratio_title(made: Sequence[Comparison], margin: float) -> str:
    good = "lower is better" if made[0].better == "lower" else "higher is better"
    return f"ratio to {made[0].base.place}, {good} (band: ±{margin * 100:g} %)"


def _reach(made: Sequence[Comparison], margin: float) -> tuple[float, float]:
    """Limits that hold the ratios with most of their intervals, and never less than twice the margin."""
    found = [j.interval for c in made for j in c.verdict.judgements]
    lows, highs = [i.low for i in found] or [1.0], [i.high for i in found] or [1.0]
    ratio = [i.ratio for i in found] or [1.0]
    low = min(max(min(lows), min(ratio) - 0.6), 1 - 2 * margin)
    high = max(min(max(highs), max(ratio) * 1.4), 1 + 2 * margin)
    room = 0.04 * (high - low)
    return low - room, high + room


def _svg(figure: Figure, look: Look, salt: str) -> str:
    """The drawing without XML head, ids of its own, and colours that follow the theme."""
    held = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = held.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[A-Za-z0-9_.]+"(/?)>', r"<g\1>", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    # A hundredth of a point is far below a pixel, and halves the page. Only in tags: texts hold figures.
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    for place in look.places:
        text = text.replace(look.colour(place), f"var(--place-{look.places.index(place) % len(MARKERS)})")
    for stand_in, variable in _THEME.items():
        text = text.replace(stand_in, variable)
    title = figure.get_suptitle()
    head = rf'<svg viewBox="\1" role="img" aria-label="{html.escape(title)}">'
    return re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', head, text, count=1)
