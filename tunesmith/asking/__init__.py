"""Language models to ask: local weights, a run, or an endpoint of the OpenAI protocol. It knows no retrieval."""
