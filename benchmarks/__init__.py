"""How fast fanlight is, beside what the machine can do at most and beside the public FAN training code.

``python -m benchmarks`` measures every subject on one core; ``benchmarks/README.md`` says what the figures mean.
"""
