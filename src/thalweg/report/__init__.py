"""The report: pages and charts."""
