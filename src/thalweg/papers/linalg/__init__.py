"""Papers on linear algebra."""
