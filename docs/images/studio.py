"""Makes the pictures of docs/studio.md from a server that runs (`make studio`).

    npm install --prefix /tmp/pages mermaid @scalar/api-reference
    .venv/bin/python docs/images/studio.py http://127.0.0.1:2024 /tmp/pages

Needs Chromium. The server's page of its API loads one script from the web; here it comes from the npm package.
"""

from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path

import httpx
from trex import build_graph

CDN = "https://cdn.jsdelivr.net/npm/@scalar/api-reference"
SCALAR = "node_modules/@scalar/api-reference/dist/browser/standalone.js"
MERMAID = "node_modules/mermaid/dist/mermaid.min.js"


def graph_page() -> str:
    """The graph with the agents inside its nodes, as Studio lays them out."""
    drawn = html.escape(build_graph().get_graph(xray=True).draw_mermaid())
    return (
        f'<body style="background:white"><pre class="mermaid">{drawn}</pre><script src="{MERMAID}"></script>'
        "<script>mermaid.initialize({startOnLoad: true})</script>"
    )


def api_page(server: str) -> str:
    """The server's own page of its API."""
    return httpx.get(f"{server}/docs", timeout=30).text.replace(CDN, SCALAR)


def take(page: str, name: str, size: str, pages: Path) -> None:
    """A picture of a page, beside this file."""
    (pages / "page.html").write_text(page, encoding="utf-8")
    picture = Path(__file__).with_name(name)
    browser = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
    ]
    look = ["--virtual-time-budget=10000", f"--window-size={size}", f"--screenshot={picture}"]
    subprocess.run([*browser, *look, (pages / "page.html").as_uri()], check=True, timeout=120)


if __name__ == "__main__":
    address, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    take(graph_page(), "studio_graph.png", "1200,4600", folder)
    take(api_page(address), "studio_api.png", "1280,800", folder)
