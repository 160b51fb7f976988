"""The other side of libsodium.rs: PyNaCl's libsodium, asked in JSON, one document in and one out."""

import json
import sys

from nacl import bindings as sodium


def pair(seed):
    """Signing pair of a seed, and the pair for boxes that libsodium derives from it."""
    public, secret = sodium.crypto_sign_seed_keypair(bytes.fromhex(seed))
    return (
        public,
        secret,
        sodium.crypto_sign_ed25519_pk_to_curve25519(public),
        sodium.crypto_sign_ed25519_sk_to_curve25519(secret),
    )


def answer(asked):
    """What libsodium makes of one round's input, and what it reads in what we made."""
    text, nonce, key = (bytes.fromhex(asked[name]) for name in ("text", "nonce", "key"))
    a_public, a_secret, a_box_public, a_box_secret = pair(asked["a"])
    _, _, b_box_public, b_box_secret = pair(asked["b"])
    ours = {name: bytes.fromhex(made) for name, made in asked["ours"].items()}
    verified = sodium.crypto_sign_open(ours["signature"] + text, a_public)
    return {
        "made": {
            "direct": sodium.crypto_box(text, nonce, b_box_public, a_box_secret).hex(),
            "secretbox": sodium.crypto_secretbox(text, nonce, key).hex(),
            "signature": sodium.crypto_sign(text, a_secret)[:64].hex(),
            "sealed": sodium.crypto_box_seal(text, b_box_public).hex(),
        },
        "read": {
            "direct": sodium.crypto_box_open(ours["direct"], nonce, a_box_public, b_box_secret).hex(),
            "secretbox": sodium.crypto_secretbox_open(ours["secretbox"], nonce, key).hex(),
            "signature": verified.hex(),
            "sealed": sodium.crypto_box_seal_open(ours["sealed"], b_box_public, b_box_secret).hex(),
        },
    }


json.dump([answer(asked) for asked in json.load(sys.stdin)], sys.stdout)
