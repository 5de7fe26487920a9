"""Writes the comparison of two campaigns as a page and as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from netbench.judge.compare import Change, Compared, in_words
from netbench.judge.stats import LEVEL
from netbench.judge.study import Key
from netbench.judge.verdict import Overall
from netbench.report import page, words
from usernetes_deploy import __version__

_BADGES: dict[Overall, str] = {"slower": "costs more", "faster": "costs less"}


def write_compared(found: Compared, out_dir: Path) -> tuple[Path, Path]:
    """Write ``compare.html`` and ``compare.md``; their paths."""
    out_dir.mkdir(parents=True, exist_ok=True)
    shown = _context(found)
    html, markdown = out_dir / "compare.html", out_dir / "compare.md"
    html.write_text(page.environment().get_template("compare.html.j2").render(page=shown), encoding="utf-8")
    markdown.write_text(_markdown(shown), encoding="utf-8")
    return html, markdown


def lead(found: Compared) -> list[str]:
    """The first sentences: did the cost of pods change?"""
    costs = [c.cost for c in found.changes if c.cost]
    if not found.changes:
        return [f"{found.names[0]} and {found.names[1]} have no benchmark in common."]
    counted = [
        (sum(cost.overall == "same" for cost in costs), f"the same within {found.margin * 100:g} %"),
        (sum(cost.overall == "slower" for cost in costs), f"higher in {found.names[1]}"),
        (sum(cost.overall == "faster" for cost in costs), f"lower in {found.names[1]}"),
        (sum(cost.overall == "mixed" for cost in costs), "different at some message sizes only"),
        (sum(cost.overall == "undecided" for cost in costs), "not decided"),
        (sum(cost.overall == "refused" for cost in costs), "not comparable"),
    ]
    parts = [f"{count} {text}" for count, text in counted if count]
    sentences = [f"Of {len(costs)} costs against {found.baseline}: {', '.join(parts)}."] if costs else []
    moved = [c for c in found.changes if c.place == found.baseline and c.own.overall in {"slower", "faster", "mixed"}]
    if moved:
        times = "1 benchmark" if len(moved) == 1 else f"{len(moved)} benchmarks"
        sentences.append(f"The machine itself differs: {found.baseline} moved in {times}, so look at the costs.")
    return sentences


def _context(found: Compared) -> dict[str, Any]:
    blocks: dict[tuple[Key, str], list[dict[str, Any]]] = {}
    for change in found.changes:
        blocks.setdefault((change.key, change.metric), []).append(_line(change, found))
    return {
        "title": f"{found.names[0]} and {found.names[1]} side by side",
        "subtitle": f"Two campaigns, {len(found.changes)} figures in common; the baseline is {found.baseline}.",
        "style": Markup(page.style()),  # noqa: S704 - our own file
        "lead": lead(found),
        "alerts": [str(error) for error in found.unreadable],
        "names": found.names,
        "baseline": found.baseline,
        "blocks": [
            {"title": f"{key.title()}: {words.metric_in_words(metric)}", "lines": lines}
            for (key, metric), lines in blocks.items()
        ],
        "only": list(found.only),
        "level": f"{LEVEL * 100:g}",
        "margin": f"{found.margin * 100:g}",
        "seed": found.seed,
        "version": __version__,
    }


def _line(change: Change, found: Compared) -> dict[str, Any]:
    return {
        "place": change.place,
        "cost": in_words(change.cost, found.names) if change.cost else "",
        "cost_overall": change.cost.overall if change.cost else "",
        "cost_badge": _BADGES.get(change.cost.overall, words.BADGES[change.cost.overall]) if change.cost else "",
        "own": change.own.text,
        "own_overall": change.own.overall,
        "own_badge": words.BADGES[change.own.overall],
        "flags": [f.text for f in change.findings if f.level == "flag"],
    }


def _markdown(shown: dict[str, Any]) -> str:
    lines = [f"# {shown['title']}", "", shown["subtitle"], "", *(f"**{text}**" for text in shown["lead"]), ""]
    for block in shown["blocks"]:
        lines += [f"## {block['title']}", ""]
        for line in block["lines"]:
            if line["cost"]:
                lines.append(f"- **{line['place']}**, cost against {shown['baseline']}: {line['cost']}.")
            lines.append(f"- **{line['place']}**, {shown['names'][1]} against {shown['names'][0]}: {line['own']}.")
            lines += [f"  - {flag}" for flag in line["flags"]]
        lines.append("")
    lines += [f"- {text}" for text in shown["only"]]
    lines += ["", f"Margin {shown['margin']} %, intervals at {shown['level']} %, seed {shown['seed']}.", ""]
    return "\n".join(words.markdown_line(line) for line in lines)
