"""Signs in anew whenever the requests that schemathesis makes up have ended the session, or deleted the user.

The test gives the gateway's address and the path of its API in the environment.
"""

import os
from itertools import count

import requests
import schemathesis

API = os.environ["PORTCULLIS_API"]
PASSWORD = "correct horse battery staple"
NUMBERS = count(1)
GATEWAY = requests.Session()


def sign_up():
    name = f"prober-{next(NUMBERS)}"
    # Whoever may do everything reaches the most of what there is.
    account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "roles": ["admin"]}
    answer = GATEWAY.post(f"{API}/register", json=account)
    answer.raise_for_status()
    answer = GATEWAY.post(f"{API}/login", json={"username": name, "password": PASSWORD})
    answer.raise_for_status()
    return answer.json()["access_token"]


@schemathesis.auth(refresh_interval=None)
class Prober:
    """A user with the role `admin`."""

    token = None

    def get(self, case, context):
        if self.token is None or not GATEWAY.get(f"{API}/verify", headers=bearer(self.token)).ok:
            self.token = sign_up()
        return self.token

    def set(self, case, data, context):
        case.headers = {**(case.headers or {}), **bearer(data)}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}
