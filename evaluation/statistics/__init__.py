"""Statistics: intervals, paired comparisons, and corrections for selecting the best of many."""
