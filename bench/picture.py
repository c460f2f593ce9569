#!/usr/bin/env python3
"""Makes a picture of a recorded run for the documentation: the percentile curves of its report, with their key, as one SVG file.

    bench/picture.py bench/record/DATE-COMMIT/SCENARIO > docs/pictures/SCENARIO.svg

The curves are those that `ringfence bench report` draws; RINGFENCE names the binary (default: target/release/ringfence).
"""

import html
import os
import pathlib
import re
import subprocess
import sys
import tempfile

KEY_WIDTH = 112


def report_of(folder):
    """The report as `ringfence bench report` makes it, which writes it beside the run: so of a copy."""
    with tempfile.TemporaryDirectory() as root:
        copy = pathlib.Path(root) / "run"
        copy.mkdir()
        for file in pathlib.Path(folder).iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        ringfence = os.environ.get("RINGFENCE", "target/release/ringfence")
        subprocess.run([ringfence, "bench", "report", copy], check=True, stdout=subprocess.DEVNULL)
        return (copy / "report.html").read_text()


def picture(report):
    drawn = re.search(r'<svg[^>]*class="page"[^>]*viewBox="0 0 (\d+) (\d+)"[^>]*>(.*?)</svg>', report, re.S)
    key = re.search(r'<ul class="key">(.*?)</ul>', report, re.S)
    if not drawn or not key:
        sys.exit("picture.py: the report has no curves")
    width, height, curves = int(drawn[1]), int(drawn[2]), drawn[3]
    names = re.findall(r'background:(#[0-9a-fA-F]{6})"></i>([^<]+)', key[1])
    said = []
    for place, (colour, name) in enumerate(names):
        left, top = 8 + place * KEY_WIDTH, height + 10
        said.append(f'<rect x="{left}" y="{top}" width="12" height="12" rx="3" fill="{colour}"/>')
        said.append(
            f'<text x="{left + 18}" y="{top + 11}" font-family="sans-serif" font-size="14" fill="#111827">{html.escape(html.unescape(name))}</text>'
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 32}" role="img" aria-label="latency by percentile">',
            f'<rect width="{width}" height="{height + 32}" fill="#ffffff"/>',
            curves.strip(),
            *said,
            "</svg>",
        ]
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(picture(report_of(sys.argv[1])))
