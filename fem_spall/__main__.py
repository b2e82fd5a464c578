"""``python -m fem_spall`` is ``fem-spall``."""

from fem_spall.cli import main

if __name__ == "__main__":
    main()
