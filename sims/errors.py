"""The one exception for mistakes that a user can correct."""


class UserError(ValueError):
    """A mistake of the user, not of the program.

    The message says what is wrong, which value was given, what is allowed and what to do about it.
    Command lines print it on one line and exit with code 2.
    """
