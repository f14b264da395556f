"""The room of the server: OpenAI's fine-tuning and inference API on this machine. It trains nothing itself."""
