"""What a task is, how answers are made and scored, and the grader that keeps the test split sealed.

Read in this order: `task`, `results`, `grader`, `grading`; then `metrics`,
`splits`, `statistics`, `failures`. Nothing here imports another room.
"""
