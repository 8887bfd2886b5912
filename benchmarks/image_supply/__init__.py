"""What the image supply costs, beside what a user would do by hand or with a comparable program.

Run as ``python -m benchmarks.image_supply`` from the repository's root; see ``benchmarks/README.md``.
"""
