"""Entry point of `icdbench` and of `python -m icdbench`: Ctrl-C ends it without a traceback while modules are imported, too."""


def main() -> None:
    """Run the command line."""
    try:
        from icdbench.cli import main as command_line

        command_line.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
