"""The environments over HTTP: sessions, the server, the client."""
