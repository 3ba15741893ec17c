"""Benchmarks: minicnn beside its peers, each in a process of its own. See the README's section "Speed".

    python benchmarks/all.py            everything, then the README's tables and the charts
    python benchmarks/train_step.py     one of them; conv, ladder, inference and scaling likewise
    python benchmarks/report.py         the tables and charts again, from the kept results

Each takes --help. None is a test, and no test times anything.
"""
