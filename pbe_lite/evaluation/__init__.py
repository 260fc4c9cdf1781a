"""The benchmark, its metrics, and the tables of the lessons."""
