"""One vault key around a run of Beam, Airflow, Prefect or a plain script: issue, use, revoke.

KEYBRAKE_URL and KEYBRAKE_API_KEY say where the proxy is. Needs only `pip install stripe`.
"""

import json
import os
import urllib.request
from contextlib import contextmanager

import stripe

URL = os.environ.get("KEYBRAKE_URL", "http://127.0.0.1:8787")


def control(method, path, body=None):
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": "Bearer " + os.environ["KEYBRAKE_API_KEY"], "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=15) as answer:
        return json.load(answer)


@contextmanager
def vault_key(job_id, usd_cap, label):
    """A key for this run of the job. A run that is started again spends what is left of the job's cap."""
    key = control("POST", "/vault/keys", {
        "vendor": "stripe",
        "usd_cap": usd_cap,
        "allowed_endpoints": ["POST /v1/payment_intents"],
        "expires_in": "4h",
        "agent_run_label": label,
        "job_id": job_id,
    })
    try:
        yield key
    finally:
        control("DELETE", "/vault/keys/" + key["key_id"] + "?reason=run+ended")


def charge_all(job_id, customers, usd_cap):
    """Charges each customer once per job, whatever is retried. Stops at the cap."""
    with vault_key(job_id, usd_cap, "billing/" + job_id) as key:
        base = URL + "/stripe"
        client = stripe.StripeClient(
            key["vault_key"],
            base_addresses={"api": base, "files": base, "connect": base, "meter_events": base},
        )
        for customer in customers:
            client.v1.payment_intents.create(
                {"amount": customer["amount_cents"], "currency": "usd", "customer": customer["id"], "confirm": True},
                {"idempotency_key": job_id + ":" + customer["id"]},
            )
        return control("GET", "/vault/keys/" + key["key_id"])["spend"]


if __name__ == "__main__":
    print(charge_all("python-demo", [{"id": "cus_ada", "amount_cents": 1200}], 20))
