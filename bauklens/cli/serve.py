"""The command that serves a live page."""

from typing import Any

import click

from bauklens.cli.importing import imported
from bauklens.cli.option_values import decoders_named, load_model
from bauklens.cli.options import model_options
from bauklens.cli.output import say


@click.command(short_help="Serve a page for typing to a model, looking into it and changing it.")
@model_options
@click.option(
    "--decoder", "decoders", multiple=True, help="A decoder that the page offers: a file, a hub id or demo; repeatable."
)
@click.option("--force-decoder", is_flag=True, help="Use a decoder that was fitted on another model.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="The port to listen on; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; others than this machine need --token.",
)
@click.option("--token", help="The token that visitors need; by default a random one.")
@click.option(
    "--seconds", type=click.FloatRange(min=1), help="The longest time for one request, in seconds; by default 600."
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def serve(
    decoders: tuple[str, ...],
    force_decoder: bool,
    port: int,
    host: str,
    token: str | None,
    seconds: float | None,
    open_page: bool,
    **options: Any,
) -> None:
    """Serve a page on this machine: type a prompt, look at its layers, change what they say, and look again.

    The page can be reached from this machine only, and only with the token in its address. Ctrl-C ends it.

    \b
    Example: bauklens serve --model demo --decoder demo --open
    """
    found = decoders_named(decoders, force=True) if force_decoder else list(decoders) or None
    serving = imported("bauklens.live.serving")
    serving.require_installed()
    model, tokenizer = load_model(options)
    from bauklens.live.hosts import LOOPBACK

    live = serving.serve(
        model,
        tokenizer,
        decoders=found,
        host=host,
        port=port,
        token=token,
        name=options["model"],
        seconds=seconds,
        open_page=open_page,
    )
    if host not in LOOPBACK:
        say("anyone who can reach this address and has the token can run the model; the connection is not encrypted")
    click.echo(live.url)
    say("Ctrl-C ends it")
    live.wait()
