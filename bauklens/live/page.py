"""The page itself: the scripts and styles of the viewer and of the live parts, and nothing about the model."""

from functools import cache

from bauklens.show.bundle import live_script, live_style, page_style, script_source, viewer_script
from bauklens.show.static_table import templates


@cache
def live_page(*, linked: bool = False) -> str:
    """The HTML of the page, which is the same for every model.

    Args:
        linked: whether another page has led to it, so that it asks before it runs what its address requests.
    """
    style = page_style() + live_style()
    scripts = [viewer_script(), live_script()]
    return templates().get_template("live.html").render(style=style, scripts=scripts, linked=linked)


@cache
def policy() -> str:
    """The content security policy: these two scripts run, and they may contact this server."""
    scripts = " ".join(script_source(each) for each in (viewer_script(), live_script()))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
