"""``python -m bauklens`` is the ``bauklens`` command."""

from bauklens.cli.commands import main

if __name__ == "__main__":
    main()
