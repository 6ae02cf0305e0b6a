"""``python -m fanlight`` is the ``fanlight`` command."""

from fanlight.cli import main

if __name__ == "__main__":
    main()
