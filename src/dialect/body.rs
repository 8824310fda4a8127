//! A JSON body, read one way only: like the gateway's own API, but as a tree, and with members that nobody asks for
//! left in peace, because the clients of existing systems send them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a body is refused as malformed. Says nothing of what was sent: it may be a password in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// Not JSON, JSON with something after it, or with a repeated member.
    #[error("the body is not JSON at line {line}, column {column}, or repeats a member")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A NUL character: databases disagree about it.
    #[error("the body contains a NUL character")]
    Nul,
}

/// Reads a body; none if it is empty.
///
/// # Errors
/// The body is not JSON, or has two readings: a repeated member, text with NUL.
pub fn parse_body(body: &[u8]) -> Result<Option<Value>, BodyError> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(body).map_err(|_| BodyError::NotUtf8)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Strict.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = read.map_err(|error| BodyError::NotJson { line: error.line(), column: error.column() })?;
    if has_nul(&value) { Err(BodyError::Nul) } else { Ok(Some(value)) }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// `Value` by itself would let the last of two equal members win.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Self)? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is repeated"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_read_as_json() {
        assert_eq!(
            parse_body(br#" {"a":[1,-2,0.5,true,null,"x"],"b":{}} "#),
            Ok(Some(json!({"a": [1, -2, 0.5, true, null, "x"], "b": {}})))
        );
        assert_eq!(parse_body(b" \n"), Ok(None));
    }

    #[test]
    fn a_body_with_two_readings_is_refused() {
        for body in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"a":1}]}"#, r#"{"a":1} x"#, "{}{}", "a=b", "{", "\u{feff}{}"] {
            assert!(matches!(parse_body(body.as_bytes()), Err(BodyError::NotJson { .. })), "{body}");
        }
        for body in [r#"{"a":"x\u0000"}"#, r#"{"\u0000":1}"#, r#"[["\u0000"]]"#] {
            assert_eq!(parse_body(body.as_bytes()), Err(BodyError::Nul), "{body}");
        }
        assert_eq!(parse_body(b"{\"a\":\"\xff\"}"), Err(BodyError::NotUtf8));
        assert!(parse_body("[".repeat(100_000).as_bytes()).is_err(), "too deep");
    }

    proptest! {
        #[test]
        fn no_body_can_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_body(&body);
        }
    }
}
