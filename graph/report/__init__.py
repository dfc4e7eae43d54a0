"""Reports: the summary of a run, as a page, as Markdown, as charts."""
