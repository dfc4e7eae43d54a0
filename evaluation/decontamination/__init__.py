"""Decontamination: training rows that repeat dev or test items are found."""
