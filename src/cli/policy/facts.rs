//! The named facts of a described request: header fields, and values of JSON by pointer.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::policy::{Lookup, Number, Value};

/// Header fields, as a map of names to a value or a list of values.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

/// A JSON document.
#[derive(Debug)]
pub(super) struct Document<'j>(pub(super) &'j Json);

impl Fields {
    /// Nothing if the JSON is no such map.
    pub(super) fn read(json: &Json) -> Option<Fields> {
        let mut fields = Vec::new();
        for (name, value) in json.as_object()? {
            let name = name.to_ascii_lowercase();
            match value {
                Json::Array(values) => {
                    for value in values {
                        fields.push((name.clone(), value.as_str()?.trim().to_owned()));
                    }
                }
                value => fields.push((name, value.as_str()?.trim().to_owned())),
            }
        }
        Some(Fields(fields))
    }
}

impl Lookup for Fields {
    fn values(&self, name: &str, found: &mut dyn FnMut(Value<'_>)) {
        let values = self.0.iter().filter(|(field, _)| field == name);
        values.for_each(|(_, value)| found(Value::Text(value.as_bytes())));
    }
}

impl Lookup for Document<'_> {
    fn values(&self, pointer: &str, found: &mut dyn FnMut(Value<'_>)) {
        if let Some(json) = self.0.pointer(pointer) {
            found(value(json));
        }
    }

    fn text(&self) -> Option<Cow<'_, [u8]>> {
        serde_json::to_vec(self.0).ok().map(Cow::Owned)
    }
}

fn value(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Number::read(number.to_string().as_bytes()).map_or(Value::Unreadable, Value::Number),
        Json::String(text) => Value::Text(text.as_bytes()),
        Json::Array(items) => Value::List(items.len()),
        Json::Object(_) => Value::Object,
    }
}
