"""One vault key around a run of Beam, Airflow, Prefect or a plain script: issue, renew, use, revoke.

KEYBRAKE_URL and KEYBRAKE_API_KEY say where the proxy is. Needs only `pip install stripe`.

However the run ends, its key dies: revoked at the end and on an error, and by its lease when the process is killed.
"""

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import quote

import stripe

URL = os.environ.get("KEYBRAKE_URL", "http://127.0.0.1:8787")
# Seconds that the key lives on without a renewal: 10 at least.
LEASE = int(os.environ.get("LEASE_SECONDS", "60"))


def control(method, path, body=None):
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": "Bearer " + os.environ["KEYBRAKE_API_KEY"], "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        # What is wrong, field by field, is in the body.
        raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error


@contextmanager
def vault_key(label, **terms):
    """A key for this run, e.g. `usd_cap=500, job_id="billing-24"`: a run of the job that is started again spends what is
    left of the job's cap. A key below that of a whole DAG run takes `parent_key_id` and needs no cap of its own."""
    key = control("POST", "/vault/keys", {
        "vendor": "stripe",
        "allowed_endpoints": ["POST /v1/payment_intents"],
        "expires_in": "4h",
        "lease": LEASE,
        "agent_run_label": label,
        **terms,
    })
    path = "/vault/keys/" + key["key_id"]
    ended = threading.Event()

    def renew():
        while not ended.wait(LEASE / 3):
            try:
                control("POST", path + "/renew")
            except Exception as error:  # The proxy may be back before the lease has passed.
                print("not renewed:", error, file=sys.stderr)

    threading.Thread(target=renew, daemon=True).start()
    try:
        yield key
    finally:
        ended.set()
        control("DELETE", path + "?reason=run+ended")


def charge_all(job_id, customers, usd_cap):
    """Charges each customer once per job, whatever is retried. At the cap Stripe's own RateLimitError ends it, with the
    code `cap_exhausted`: raise the job's cap and start it again."""
    with vault_key("billing/" + job_id, usd_cap=usd_cap, job_id=job_id) as key:
        base = URL + "/stripe"
        client = stripe.StripeClient(
            key["vault_key"],
            base_addresses={"api": base, "files": base, "connect": base, "meter_events": base},
            max_network_retries=2,  # the same call with the same idempotency key: executed once
        )
        declined = []
        for customer in customers:
            try:
                client.v1.payment_intents.create(
                    {"amount": customer["amount_cents"], "currency": "usd", "customer": customer["id"], "confirm": True},
                    {"idempotency_key": job_id + ":" + customer["id"]},
                )
            except stripe.CardError as error:
                declined.append({"id": customer["id"], "code": error.code})
        return {"declined": declined, "spend": control("GET", "/vault/jobs/" + quote(job_id, safe=""))["spend"]}


if __name__ == "__main__":
    # python any_orchestrator.py [JOB_ID CAP_USD < customers.jsonl]
    arguments = sys.argv[1:]
    job, cap = arguments if arguments else ("python-demo", "20")
    rows = [json.loads(line) for line in sys.stdin] if arguments else [{"id": "cus_ada", "amount_cents": 1200}]
    print(json.dumps(charge_all(job, rows, float(cap))))
