"""What mkdocs adds to docs/ in the site: CONTRIBUTING.md, CHANGELOG.md, and live pages of notebooks and the gallery."""

import re
from pathlib import Path
from typing import Any

from gallery_cases import CASES, IMAGE, fragment_of, page_of
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
GALLERY = {**CASES, "image": IMAGE}
RENDERED = ROOT / "build" / "notebooks"
"""The folder for the pages of the notebooks that scripts/make_site.py has run."""


def on_files(files: Files, config: Any) -> Files:
    """Adds them to the site."""
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("(docs/", "(")
        files.append(File.generated(config, name.lower(), content=text))
    for page in sorted(RENDERED.glob("*.html")):
        files.append(File.generated(config, f"gallery/{page.name}", abs_src_path=str(page)))
    for name, case in GALLERY.items():
        files.append(File.generated(config, f"gallery/live-{name}.html", content=page_of(case)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of docs/ in the repository lead to their counterparts on the site."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(r"\(\.\./notebooks/([\w-]+)\.ipynb\)", rf"({up}gallery/\1.html)", markdown)
    if page.file.src_uri == "gallery/README.md":
        for name, case in GALLERY.items():
            live = f"[Open it, and explore it](live-{name}.html#{fragment_of(case)})"
            markdown = re.sub(rf"(!\[.*\]\({name}\.\w+\))", rf"\1\n\n{live}", markdown)
    return markdown.replace("(../CONTRIBUTING.md)", f"({up}contributing.md)")
