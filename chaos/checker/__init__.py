"""History in, verdict out. Knows neither a broker nor a client."""
