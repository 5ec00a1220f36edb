"""The page itself: the viewer's script and style, those of the live parts, and nothing of the model."""

from functools import cache

from bauklens.show.bundle import live_script, live_style, page_style, script_source, viewer_script
from bauklens.show.static_table import templates


@cache
def live_page() -> str:
    """The HTML of the page, which is the same for every model."""
    style = page_style() + live_style()
    scripts = [viewer_script(), live_script()]
    return templates().get_template("live.html").render(style=style, scripts=scripts)


@cache
def policy() -> str:
    """The content security policy: these two scripts run, and they may ask this server."""
    scripts = " ".join(script_source(each) for each in (viewer_script(), live_script()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
