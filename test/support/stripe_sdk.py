"""Runs Stripe's own Python SDK against a proxy. Arguments: its URL, and vault keys by what is the matter with them."""

import json
import sys

import stripe

url, keys = sys.argv[1], json.loads(sys.argv[2])


def client(vault_key):
    hosts = {name: url + "/stripe" for name in ("api", "files", "connect", "meter_events")}
    return stripe.StripeClient(vault_key, base_addresses=hosts)


def attempt(act):
    """What came of it: the object's id, or the exception as a caller sees it."""
    try:
        made = act()
        return {"id": made.id, "status": made.status}
    except stripe.StripeError as error:
        found = error.error
        return {
            "exception": type(error).__name__,
            "code": None if found is None else found.code,
            "http_status": error.http_status,
            "message": error.user_message,
            "request_id": error.request_id,
        }


def with_client(vault_key):
    return client(vault_key).v1.payment_intents.create(
        {"amount": 500, "currency": "usd", "confirm": True}, {"idempotency_key": "by-client"}
    )


def with_globals(vault_key, **fields):
    """The older way of calling, which retries by itself."""
    stripe.api_key, stripe.api_base = vault_key, url + "/stripe"
    given = {"amount": 500, "currency": "usd", "confirm": True, **fields}
    return stripe.PaymentIntent.create(**given)


for line in sys.stdin:
    name = line.strip()
    key = keys.get(name, keys["good"])
    acts = {
        "good": lambda: with_client(key),
        "replayed": lambda: with_client(key),
        "globals": lambda: with_globals(key, metadata={"order id": "7&amount=1"}, expand=["latest_charge"]),
        "endpoint_not_allowed": lambda: client(key).v1.refunds.create({"payment_intent": "pi_1"}),
        "card_declined": lambda: with_globals(key, customer="cus_decline"),
        "request_unpriceable": lambda: with_globals(key, amount="-5"),
        "currency_not_allowed": lambda: with_globals(key, currency="eur"),
    }
    print(json.dumps(attempt(acts.get(name, lambda: with_globals(key)))), flush=True)
