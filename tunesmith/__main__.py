"""``python -m tunesmith``, which torchrun needs."""

from tunesmith.cli import main

if __name__ == "__main__":
    main()
