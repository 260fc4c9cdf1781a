"""python -m pbe_lite.classroom: see cli.py."""

from pbe_lite.classroom.cli import main

if __name__ == "__main__":
    main()
