"""Experiments of the papers and of courses, done again at a size for two cores, each with several seeds.

    python benchmarks/experiments/relu.py              one of them: minutes to an hour
    python benchmarks/experiments/relu.py --quick      see that it runs, in seconds
    python benchmarks/experiments/all.py --hours 8     all of them in a row, as far as the time goes

Each keeps its rows in results/experiments as they come, so that the same command goes on after an
interruption; then it writes a picture and a page with a table and what the numbers say. Each takes --help.

    experiment  what an experiment is, and what was found
    harness     runs, keeps and reports any of them
    training    those that train one network for each variant and seed
    networks    the small networks that are trained
    words       numbers with their spread, and claims held against them
"""
