"""The room of converters: each turns one kind of document into Markdown. They run in a process of their own."""
