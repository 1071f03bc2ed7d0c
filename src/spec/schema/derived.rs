//! The schema itself: derived from the types of a spec once, and kept.

use super::ValueKind;
use crate::spec::Spec;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The schema as JSON Schema, draft 2020-12.
pub fn json() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<Spec>().to_value();
        undefaulted(&mut schema);
        schema["title"] = json!("dalle experiment");
        schema
    });
    &SCHEMA
}

/// Defaults follow from what a spec says, so that none of them holds everywhere.
fn undefaulted(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            entries.remove("default");
            entries.values_mut().for_each(undefaulted);
        }
        Value::Array(items) => items.iter_mut().for_each(undefaulted),
        _ => {}
    }
}

/// What a spec may hold.
pub fn spec() -> &'static ValueKind {
    static SPEC: LazyLock<ValueKind> = LazyLock::new(|| ValueKind::of(json()));
    &SPEC
}
