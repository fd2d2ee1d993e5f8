"""Real servers for the tests, each a process of its own on 127.0.0.1 that ends with the test: SSH, S3, PostgreSQL."""
