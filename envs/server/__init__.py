"""The environments over HTTP: sessions, worker threads, and the server with its protocols."""
