//! Quantities as people write them: `15m`, `64KiB`. The file's twin holds the text; `validate` asks for the value.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration with its unit: `250ms`, `15m`, `30d`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(pub String);

/// A size with its unit: `64KiB`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SizeText(pub String);

/// So many within any stretch of a duration: `100/1h`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RateText(pub String);

impl RateText {
    /// How many within how long; none if the text is not a rate.
    pub(super) fn value(&self) -> Option<(u32, Duration)> {
        let (times, period) = self.0.split_once('/')?;
        Some((times.trim().parse().ok()?, humantime::parse_duration(period.trim()).ok()?))
    }
}

impl DurationText {
    /// The duration; none if the text is not one.
    pub(super) fn value(&self) -> Option<Duration> {
        humantime::parse_duration(&self.0).ok()
    }
}

impl SizeText {
    /// The size in bytes; none if the text is not one. A number without a unit is refused although the parser
    /// would take it: `body = "16"` is more likely a mistake than a limit of sixteen bytes.
    pub(super) fn value(&self) -> Option<u64> {
        if !self.0.ends_with(['B', 'b', 'K', 'k', 'M', 'm', 'G', 'g', 'i']) {
            return None;
        }
        ByteSize::from_str(&self.0).ok().map(|size| size.as_u64())
    }
}

impl From<&str> for DurationText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&str> for SizeText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&str> for RateText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for RateText {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "so many within any stretch of a duration, like \"100/1h\"",
            "examples": ["100/1h", "10/15m"],
        })
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "a duration with its unit, like \"15m\" (ms, s, m, h, d)",
            "examples": ["15m", "250ms", "30d"],
        })
    }
}

impl JsonSchema for SizeText {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "a size with its unit, like \"64KiB\" (B, KiB, MiB, GiB)",
            "examples": ["64KiB", "16MiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(DurationText::from("15m").value(), Some(Duration::from_mins(15)));
        assert_eq!(DurationText::from("250ms").value(), Some(Duration::from_millis(250)));
        assert_eq!(DurationText::from("1h 30m").value(), Some(Duration::from_mins(90)));
        for text in ["15", "", "-1s", "1 fortnight"] {
            assert_eq!(DurationText::from(text).value(), None, "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_a_number_and_a_duration() {
        assert_eq!(RateText::from("100/1h").value(), Some((100, Duration::from_hours(1))));
        assert_eq!(RateText::from("3 / 90s").value(), Some((3, Duration::from_secs(90))));
        for text in ["100", "100/h", "/1h", "-1/1h", "1.5/1h", "1/1h/1h"] {
            assert_eq!(RateText::from(text).value(), None, "{text:?}");
        }
    }

    #[test]
    fn a_size_needs_its_unit() {
        assert_eq!(SizeText::from("64KiB").value(), Some(65_536));
        assert_eq!(SizeText::from("0B").value(), Some(0));
        for text in ["64", "", "-1KiB", "64 apples"] {
            assert_eq!(SizeText::from(text).value(), None, "{text:?}");
        }
    }
}
