"""`python -m graphengine` is the script `graphengine`."""

from graphengine.cli import main

if __name__ == "__main__":
    main()
