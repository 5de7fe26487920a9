"""The report in a real browser: what a reader does with it, on a desk, on a phone, in the dark and on paper.

A script is added to a copy of the page; it acts as the reader and leaves what it saw in the page, and Chromium prints
that.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from netbench.report import write_report
from tests.unit.netbench.report.test_report import records

pytestmark = pytest.mark.browser

READER = """
const luminance = colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, two) => {
  const [high, low] = [luminance(one), luminance(two)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
};
const ground = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const look = () => {
  const all = selector => [...document.querySelectorAll(selector)];
  const link = all('.matrix a')[0];
  const target = document.querySelector(link.getAttribute('href'));
  all('details').forEach(d => d.querySelector('summary').click());
  const drawn = all('svg text').filter(t => t.textContent.trim());
  const texts = [...all('p, li, th, td, h1, h2, h3, .badge'), ...drawn];
  const wide = all('main > section *, header *').filter(e => !e.closest('.scroll') && !e.closest('svg')
    && e.getBoundingClientRect().right > innerWidth + 1);
  const cut = drawn.filter(t => {
    const [a, b] = [t.getBoundingClientRect(), t.closest('svg').getBoundingClientRect()];
    return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
  });
  return {
    width: innerWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    first: document.querySelector('main h2').textContent,
    lead: document.querySelector('.lead').innerText,
    lead_bottom: document.querySelector('.lead').getBoundingClientRect().bottom + scrollY,
    badges: all('.matrix .badge').map(b => b.textContent),
    target: target && target.querySelector('h3').textContent,
    figures: all('svg').length,
    figure_heights: all('svg').map(s => Math.round(s.getBoundingClientRect().height)),
    columns: new Set(all('.figures')[0].querySelectorAll('figure').values().map(f => f.offsetLeft)).size,
    cells: all('.figures-table td').filter(td => td.getBoundingClientRect().height > 0).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    wide: wide.map(e => e.outerHTML.slice(0, 120)),
    cut: cut.map(t => t.textContent),
    smallest_text: Math.min(...drawn.map(t => t.getBoundingClientRect().height)),
    worst_contrast: Math.min(...texts.filter(t => t.textContent.trim()).map(t =>
      contrast(t.closest('svg') ? getComputedStyle(t).fill : getComputedStyle(t).color, ground(t)))),
    requests: performance.getEntriesByType('resource').length,
  };
};
"""


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "records").mkdir()
    for record in records():
        record.save(folder / "records")
    return write_report(folder / "records", folder).html


def browse(profile: Path, *arguments: str) -> str:
    command = [
        *(chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={profile}", *arguments),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def read(page: Path, tmp_path: Path, width: int, *flags: str) -> dict[str, Any]:
    """What the reader sees at `width` CSS pixels; the page is put into a frame, which may be narrower than a window."""
    act = "addEventListener('load', () => parent.document.body.append(JSON.stringify(look())))"
    framed = page.read_text().replace("</body>", f"<script>{READER}{act}</script></body>")
    frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(framed)}"></iframe>'
    outer = tmp_path / "outer.html"
    outer.write_text(f"<!doctype html><meta charset=utf-8><body>{frame}</body>")
    dom = browse(
        tmp_path / "profile", *flags, f"--window-size={max(width + 40, 600)},1000", "--dump-dom", outer.as_uri()
    )
    found = re.search(r"</iframe>(\{.*\})</body>", dom, re.DOTALL)
    assert found, dom[-500:]
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert seen["width"] == width
    return seen


def test_a_reader_at_a_desk_finds_verdict_benchmarks_and_figures(page: Path, tmp_path: Path) -> None:
    seen = read(page, tmp_path, 1280)
    assert seen["first"] == "Verdict"
    assert seen["lead"].startswith("Shown to be as fast as bare-metal within 3 %: pod-native")
    assert seen["lead_bottom"] < 400
    assert {"same", "slower"} <= set(seen["badges"])
    assert seen["target"] == "osu_latency, 2 nodes, 2 ranks"
    assert seen["figures"] == 10
    assert seen["columns"] == 2
    assert seen["cells"] > 40
    assert seen["overflow"] <= 0
    assert (seen["wide"], seen["cut"]) == ([], [])
    assert min(seen["figure_heights"]) > 100
    assert seen["requests"] == 0


def test_a_reader_with_a_phone_scrolls_down_only_and_can_read_the_plots(page: Path, tmp_path: Path) -> None:
    seen = read(page, tmp_path, 360)
    assert seen["overflow"] <= 0
    assert (seen["wide"], seen["cut"]) == ([], [])
    assert seen["columns"] == 1
    assert seen["smallest_text"] >= 9
    assert seen["lead_bottom"] < 640


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out_from_its_ground_in_light_and_dark(page: Path, tmp_path: Path, dark: bool) -> None:
    seen = read(page, tmp_path, 1000, f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    assert seen["dark"] is dark
    assert seen["worst_contrast"] >= 4.5


def test_the_print_has_all_figures_though_nobody_opened_them(page: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browse(tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    assert pdf.stat().st_size > 50_000
    if not shutil.which("pdftotext"):
        pytest.skip("printed; no pdftotext here to read it")
    text = subprocess.run(["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True, text=True).stdout
    assert text.index("Verdict") < text.index("Benchmark by benchmark") < text.index("How to repeat it")
    assert re.search(r"4 MiB\s+[\d.]+\s+[\d.]+\s+[\d.]+ \[[\d.]+, [\d.]+\]", text)
