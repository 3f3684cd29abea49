"""HTML pages and tables: what people look at after a run."""
