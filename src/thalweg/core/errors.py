"""Mistakes a user can mend: each message says what was wrong, what was expected and how."""


class UserError(ValueError):
    """What the user gave cannot be used."""


class ProblemError(UserError):
    """A problem cannot be loaded or solved as it stands."""


class RecipeError(UserError):
    """A recipe cannot be understood or run."""


class SettingError(UserError):
    """A setting of a race is wrong."""


class StoreError(UserError):
    """A store cannot be used."""
