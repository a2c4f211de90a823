from tests.services.auth.fixtures import auth, fresh_auth

__all__ = ["auth", "fresh_auth"]
