"""How fast a page of a run opens and plays, in headless Chromium without a graphics card.

    python -m scripts.frame_rate docs/gallery/demo.html

Prints the size of the page; the time until its script has run; and while the maps move from step to step, the frames a
second, the wait for a frame that one in twenty exceeds, and the time that drawing one takes. First with the page's own
view, then with all cities, then on the globe. Other programs at work make all of these worse.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from tests.chromium import CHROMIUM, Tab

VIEWS = {
    "as it opens": "",
    "all cities": "$('cities').value = 'all'; $('cities').dispatchEvent(new Event('change'));",
    "globe": "$('projection').value = 'globe'; $('projection').dispatchEvent(new Event('change'));",
}
PLAY = """
new Promise((done) => {
  const waits = [], drawn = [], before = draw;
  let last = 0;
  draw = () => { const begun = performance.now(); before(); if (isMoving) drawn.push(performance.now() - begun); };
  go(0, false);
  play();
  const frame = (now) => {
    if (isMoving && last) waits.push(now - last);
    last = isMoving ? now : 0;
    if (state.timer || isMoving) requestAnimationFrame(frame);
    else { draw = before; done([waits, drawn]); }
  };
  requestAnimationFrame(frame);
})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    if CHROMIUM is None:
        parser.error("needs Chromium; `make browser` installs it")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Tab(Path(profile)) as tab:
        for name, change in VIEWS.items():
            tab.open(page)
            if not change:
                opened = tab.run("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
                print(f"{page.name}: {page.stat().st_size / 1e6:.2f} MB, its script has run after {opened:,.0f} ms")
            tab.run(f"{{ {change} }}")
            waits, drawn = tab.run(PLAY)
            slow = statistics.quantiles(waits, n=20)[-1]
            print(
                f"{name}: {1000 * len(waits) / sum(waits):.0f} frames a second, 1 in 20 after more than {slow:.0f} ms; "
                f"{statistics.median(drawn):.1f} ms to draw one, {min(drawn):.1f} at best ({len(waits)} frames)"
            )


if __name__ == "__main__":
    main()
