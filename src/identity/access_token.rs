//! Access tokens: JWTs of type `at+jwt` (RFC 9068), signed and verified.
