"""A report on a tag: one page, and the same as Markdown, from what its runs left."""
