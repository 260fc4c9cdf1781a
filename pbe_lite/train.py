"""python -m pbe_lite.train: train one arm, or a part it needs."""

from pbe_lite.training.cli import main

if __name__ == "__main__":
    main()
