"""python -m pbe_lite.reproduce: the tables of the lessons."""

from pbe_lite.evaluation.cli import main

if __name__ == "__main__":
    main()
