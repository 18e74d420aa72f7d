"""The shape of every error that clients see. Imports nothing: the arbiter and unpatched code may load it."""


def document(code: str, sentence: str) -> dict[str, str]:
    """The body of every error: a sentence for people, a stable code for programs under both names in use."""
    return {"error": sentence, "errorCode": code, "code": code}
