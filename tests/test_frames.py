"""The viewer in frames like those of Colab and VS Code. These do not run here: what they allow is emulated."""

import html
import json

import pytest
from playwright.sync_api import expect

from bauklens.show.page import fragment
from tests.test_viewer import rising

VSCODE_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
)
"""What its notebooks' webview allows, but for its own resources."""


def colab(theme):
    """A notebook whose output is a document of another origin, which may run scripts and nothing else."""
    document = f"<!doctype html><html theme='{theme}'><body>{fragment([rising()])}</body></html>"
    return (
        "<!doctype html><title>T</title><iframe sandbox='allow-scripts' style='width: 100%; height: 860px; border: 0' "
        f'srcdoc="{html.escape(document)}"></iframe>'
    )


def vscode(kind):
    """A webview in which a renderer puts an output by `innerHTML`, and makes its scripts anew so that they run."""
    given = json.dumps(str(fragment([rising()]))).replace("</", "<\\/")
    return f"""<!doctype html><title>T</title><meta http-equiv="Content-Security-Policy" content="{VSCODE_POLICY}">
      <body class="{kind}" data-vscode-theme-kind="{kind}"><div id="output"></div><script>
        const output = document.getElementById("output");
        output.innerHTML = {given};
        for (const old of output.querySelectorAll("script")) {{
          const made = document.createElement("script");
          for (const {{ name, value }} of old.attributes) made.setAttribute(name, value);
          made.textContent = old.textContent;
          old.replaceWith(made);
        }}
      </script></body>"""


def paper(inside):
    return inside.locator(".viewer").evaluate("element => getComputedStyle(element).backgroundColor")


def used(page, inside):
    """A cell is chosen, a token pinned from the search, the table moved in by keys."""
    inside.locator("figure.mounted").wait_for()
    inside.get_by_role("gridcell", name="␣Paris, 0.500").first.click()
    page.keyboard.press("ArrowLeft")
    assert "position 3" in inside.get_by_role("group", name="selected cell").inner_text()
    inside.get_by_role("combobox", name="find a token and pin it").fill("Par")
    page.keyboard.press("Enter")
    expect(inside.get_by_role("gridcell", name="␣Paris, 0.500; pinned ●")).to_have_count(2)
    inside.locator("summary", has_text="Export").click()
    # a link would be to the frame's address
    expect(inside.get_by_role("button", name="Copy a link to this view")).to_have_count(0)
    inside.get_by_role("button", name="Copy the cell (TSV)").click()
    said = inside.locator(".sheet .said")
    said.filter(has_text="cop").wait_for()
    assert said.inner_text() in ("cell copied", "the browser did not allow copying")


@pytest.mark.parametrize(("theme", "colour"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 28)")])
def test_a_frame_like_those_of_colab(opening, theme, colour):
    page, asked, complaints = opening(colab(theme))
    inside = page.frame_locator("iframe")
    used(page, inside)
    assert paper(inside) == colour
    assert [each for each in asked if each != "about:srcdoc"] == []
    assert all("Clipboard API has been blocked" in each for each in complaints)  # so it is copied in another way


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        ("vscode-light", "rgb(255, 255, 255)"),
        ("vscode-dark", "rgb(20, 23, 28)"),
        ("vscode-high-contrast", "rgb(20, 23, 28)"),
        ("vscode-high-contrast vscode-high-contrast-light", "rgb(255, 255, 255)"),
    ],
)
def test_a_webview_like_those_of_vs_code(opening, kind, colour):
    page, asked, complaints = opening(vscode(kind))
    used(page, page)
    assert paper(page) == colour
    assert (asked, complaints) == ([], [])
