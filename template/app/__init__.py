"""A chat backend: FastAPI, openai-chatkit and, from level agent on, openai-agents."""
