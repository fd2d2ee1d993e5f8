"""The environments in which a policy calls tools: Weather, Movie, Academia, TODO, Sheet."""
