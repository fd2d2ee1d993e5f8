"""The environments in which the policy calls tools: Weather, Movie, Academia, TODO, Sheet."""
