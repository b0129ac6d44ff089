"""A server over the decoding engine: requests that arrive at different times share its batches.

`worker` owns a model on a thread of its own, `app` the routes, `openai` the shapes of OpenAI's API.
Needs the packages of the extra `serve`; nothing here reads a command line or prints.
"""
