"""The shapes of OpenAI's API: requests are read strictly, answers have every required key.

A field that is documented works or is refused by name; one that is unknown is refused with the
nearest name. Source: OpenAI's public API description (github.com/openai/openai-openapi).
"""
