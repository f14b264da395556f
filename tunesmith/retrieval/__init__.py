"""The room of retrieval: documents, their chunks, an index, answers that quote. It knows no task."""
