"""The other side of libsodium.rs: PyNaCl's libsodium, asked in JSON, one document in and one out."""

import json
import sys
from base64 import b64decode, b64encode
from hashlib import sha256

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


def entry(asked):
    """A vault's entry: what libsodium reads in ours, whether it believes our signature, and one of its own."""
    public, _, box_public, box_secret = pair(asked["member"])
    ours = asked["ours"]
    nonce, ciphertext, sealed = (b64decode(ours[name]) for name in ("nonce", "ciphertext", "sealed_key"))
    file_key = sodium.crypto_box_seal_open(sealed, box_public, box_secret)
    kind, path, version = ours["entry_type"], ours.get("mount_path", ""), ours["version"]
    text = "|".join(
        ["claudemesh/vault/v1", asked["mesh"], public.hex(), ours["key"], kind, path, str(version)]
        + [ours["nonce"], sha256(ciphertext).hexdigest(), ours["sealed_key"]]
    ).encode()
    sodium.crypto_sign_open(bytes.fromhex(ours["sig"]) + text, public)
    own_key, own_nonce = sodium.randombytes(32), sodium.randombytes(24)
    made = {
        "nonce": own_nonce,
        "ciphertext": sodium.crypto_secretbox(bytes.fromhex(asked["text"]), own_nonce, own_key),
        "sealed_key": sodium.crypto_box_seal(own_key, box_public),
    }
    return {
        "read": sodium.crypto_secretbox_open(ciphertext, nonce, file_key).hex(),
        "made": {name: b64encode(value).decode() for name, value in made.items()},
    }


json.dump([(entry if "member" in asked else answer)(asked) for asked in json.load(sys.stdin)], sys.stdout)
