"""The one exception that is meant for the user."""


class UserError(Exception):
    """Carry a message of one to three lines for the user: what was expected, what was found, how to fix it.

    Scripts print the message without a traceback and exit with status 2.
    """
