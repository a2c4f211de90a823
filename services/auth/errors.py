"""What auth answers when it refuses."""

from typing import Any

from shared.problems import Problem, TooManyRequests, Unavailable


class OAuthProblem(Problem):
    """A refusal at the token endpoint: also has the `error` member of RFC 6749, section 5.2."""

    error = "invalid_request"

    def __init__(self, detail: str, **extensions: Any) -> None:
        super().__init__(detail, error=self.error, **extensions)


class InvalidGrant(OAuthProblem):
    """The user name, password or refresh token is not accepted."""

    status, slug, title = 400, "invalid-grant", "Credentials not accepted"
    error = "invalid_grant"


class UnsupportedGrantType(OAuthProblem):
    """Only the password and refresh token grants exist here."""

    status, slug, title = 400, "unsupported-grant-type", "Grant type not supported"
    error = "unsupported_grant_type"


class InvalidTokenRequest(OAuthProblem):
    """A parameter of the grant is missing or given twice."""

    status, slug, title = 400, "invalid-token-request", "Token request not valid"


class WrongCredentials(Problem):
    """The user name or password is wrong, or the account is disabled: nobody learns which."""

    status, slug, title = 401, "wrong-credentials", "Wrong credentials"


class DeviceTaken(Problem):
    """A device of this name has another password, or is disabled."""

    status, slug, title = 409, "device-taken", "Device name taken"


class DeviceUnknown(Problem):
    """No device has this name."""

    status, slug, title = 404, "device-unknown", "Unknown device"


class DeviceNotFound(Problem):
    """No device has this identifier."""

    status, slug, title = 404, "device-not-found", "Device not found"


class NotOfThisApi(Problem):
    """The account was not made through this old API alone, so that it has no say over it."""

    status, slug, title = 403, "not-of-this-api", "Account of others"


class WrongPassword(Problem):
    """Who is signed in does not know the current password; their token stays good."""

    status, slug, title = 403, "wrong-password", "Wrong password"


class TooManyAttempts(TooManyRequests):
    """Too many passwords from one address, or too many wrong ones for one account."""

    slug, title = "too-many-attempts", "Too many attempts"


class HashingBusy(Unavailable):
    """More passwords wait to be checked than can be in reasonable time."""

    slug, title = "hashing-busy", "Too many logins at once"


class UsernameTaken(Problem):
    """Another account has this user name."""

    status, slug, title = 409, "username-taken", "User name taken"


class UsernameInvalid(Problem):
    """A user name is 1 to 150 letters, digits and `@ . + - _`."""

    status, slug, title = 422, "username-invalid", "User name not valid"


class PasswordTooShort(Problem):
    """The password has fewer characters than this API asks for."""

    status, slug, title = 422, "password-too-short", "Password too short"


class PasswordTooLong(Problem):
    """The password has more bytes than are ever hashed."""

    status, slug, title = 422, "password-too-long", "Password too long"


class PasswordInvalid(Problem):
    """The password holds half a surrogate pair, which is no character."""

    status, slug, title = 422, "password-invalid", "Password not valid"


class PasswordTooCommon(Problem):
    """The password is one of those that are tried first."""

    status, slug, title = 422, "password-too-common", "Password too common"


class ChangedTooOften(TooManyRequests):
    """The account has changed more often in a moment than its tokens can be told apart."""

    slug, title = "changed-too-often", "Account changed too often"


class UserNotFound(Problem):
    """No account has this identifier."""

    status, slug, title = 404, "user-not-found", "User not found"


class SessionNotFound(Problem):
    """No open session has this identifier, or it is somebody else's."""

    status, slug, title = 404, "session-not-found", "Session not found"


class ApiKeyNotFound(Problem):
    """No API key has this identifier, or it is somebody else's."""

    status, slug, title = 404, "api-key-not-found", "API key not found"


class ScopeNotHeld(Problem):
    """An API key cannot do what its owner may not."""

    status, slug, title = 422, "scope-not-held", "Scope not held"


class ExpiryPast(Problem):
    """An API key cannot end before it begins."""

    status, slug, title = 422, "expiry-past", "Expiry in the past"


class TooManyApiKeys(Problem):
    """The account has as many API keys as one may have."""

    status, slug, title = 409, "too-many-api-keys", "Too many API keys"


class LastAdministrator(Problem):
    """Somebody must be left who can administer the platform."""

    status, slug, title = 409, "last-administrator", "Last administrator"


class TooManySigningKeys(Problem):
    """So many retired keys are still accepted that another rotation has to wait."""

    status, slug, title = 409, "too-many-signing-keys", "Too many signing keys"
