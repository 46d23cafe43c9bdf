"""``python -m kit``"""

if __name__ == "__main__":
    try:
        from .cli import main  # here, so that Ctrl-C ends it quietly while it is being loaded, too

        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
