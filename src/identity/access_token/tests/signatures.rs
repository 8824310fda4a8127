//! Signatures that are not this key's over this token.

use super::*;

// Cases 141, 142 and 149: signatures that a careless implementation accepts.
#[test]
fn a_signature_is_canonical_and_over_this_token() {
    // The order of P-256, big-endian, and that of Ed25519's group, little-endian.
    const P256_ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    const ED25519_ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let genuine = |kid: &str, algorithm: &str| {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"at+jwt"}}"#);
        let message = format!("{}.{}", base64(header), base64(PAYLOAD));
        let signature = key(kid).sign(message.as_bytes()).expect("signed");
        (message, signature)
    };
    let refused = |message: &str, signature: &[u8], name: &str| {
        assert_eq!(check(&format!("{message}.{}", base64(signature))), Err(TokenError::Signature), "{name}");
    };

    let (message, es) = genuine("es", "ES256");
    let (r, s) = es.split_at(32);
    let one = [[0; 31].as_slice(), &[1]].concat();
    for (first, name_r) in
        [([0; 32].as_slice(), "r = 0"), (&P256_ORDER, "r = n"), (&[0xff; 32], "r > n"), (&one, "r = 1"), (r, "r")]
    {
        for (second, name_s) in [([0; 32].as_slice(), "s = 0"), (&P256_ORDER, "s = n"), (&[0xff; 32], "s > n"), (&one, "s = 1")] {
            refused(&message, &[first, second].concat(), &format!("ES256 with {name_r} and {name_s}"));
        }
    }
    let der = [&[0x30, 0x44, 0x02, 0x20], r, &[0x02, 0x20], s].concat();
    for (signature, name) in [
        (&es[..63], "truncated"),
        (&es[..32], "half"),
        (&der, "DER"),
        (&[], "empty"),
        (&[es.as_slice(), &[0]].concat(), "longer"),
    ] {
        refused(&message, signature, name);
    }

    let (message, ed) = genuine("ed", "EdDSA");
    let mut carry = 0u16;
    let mut malleated = ed[..32].to_vec();
    for (byte, order) in ed[32..].iter().zip(ED25519_ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        malleated.push(sum.to_le_bytes()[0]);
        carry = sum >> 8;
    }
    let identity = [[1].as_slice(), &[0; 63]].concat();
    for (signature, name) in
        [(malleated.as_slice(), "S + L"), (&[0; 64], "zeros"), (&identity, "R of small order, S = 0"), (&ed[..63], "truncated")]
    {
        refused(&message, signature, name);
    }

    let (message, rs) = genuine("rs", "RS256");
    let zeros = vec![0; rs.len()];
    let one = [&zeros[1..], &[1]].concat();
    for (signature, name) in
        [(zeros.as_slice(), "0"), (&one, "1"), (&rs[1..], "shorter"), (&[&[0], rs.as_slice()].concat(), "longer")]
    {
        refused(&message, signature, name);
    }

    let (message, hs) = genuine("hs", "HS256");
    refused(&message, &hs[..31], "HMAC truncated");
    refused(&message, &hs[..16], "HMAC of 128 bits");
    refused(&message, &es, "another key's signature");
}

// Case 130, last part: the right id and algorithm, another gateway's key.
#[test]
fn another_gateways_key_signs_nothing_here() {
    let epoch = Timestamp::UNIX_EPOCH;
    let private = crate::identity::key_material::generate(Algorithm::EdDsa).expect("generated");
    let stranger = SigningKey::import(Some("ed"), Algorithm::EdDsa, private, epoch, epoch, None).expect("a good key");
    let message = format!("{}.{}", base64(HEADER), base64(PAYLOAD));
    let signature = stranger.sign(message.as_bytes()).expect("signed");
    assert_eq!(check(&format!("{message}.{}", base64(signature))), Err(TokenError::Signature));
}
