"""Tasks, inference engines, metrics, statistics, and the grader that keeps the test split sealed.

Read in this order: `task`, `results`, `engines/protocol`, `metrics/protocol`, `grader/service`; then `splits`,
`statistics`, `failures`, `decontamination`. Nothing here imports another room.
"""
