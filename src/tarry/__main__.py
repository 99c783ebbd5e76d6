"""``python -m tarry`` is ``tarry``."""


def main() -> None:
    """Entry point. Ctrl-C says nothing, not even while the command line is being loaded."""
    try:
        from tarry.cli.main import main as run  # noqa: PLC0415 - slow to import

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
