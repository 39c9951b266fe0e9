"""The exceptions that are meant for the user."""


class UserError(Exception):
    """Carry a message of one to three lines for the user: what was expected, what was found, how to fix it.

    Scripts print the message without a traceback and exit with status 2.
    """


class DiskError(UserError):
    """The disk refuses to be written."""


class NonFiniteError(UserError):
    """A NaN or an infinity where a finite number is due."""


class NoMemoryError(UserError):
    """Memory has run out in the middle of a step; from the last checkpoint the same step can be tried again."""
