"""The grader: a process of its own that scores models and keeps the test split sealed."""
