"""The embedded node: all-MiniLM-L6-v2 on onnxruntime behind Ollama's own HTTP API. Imports no Prefect.

`nodes.EmbeddedNodes` runs nodes for the length of a `with` block, `server.serve` runs one in this
process, `tokens.count_tokens` counts as they count, `weights` finds and checks the model's files.
"""
