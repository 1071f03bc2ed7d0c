//! The schema itself: derived from the types of a spec once, and kept.

use super::ValueKind;
use crate::spec::Spec;
use crate::spec::extends::{self, EXTENDS};
use crate::spec::sweep::{self, SWEEP};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The schema of a file as JSON Schema, draft 2020-12.
pub fn json() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = of_types().clone();
        // A file that extends another one may leave every key to it.
        schema["properties"][EXTENDS] = json!({"type": "string", "description": extends::ABOUT});
        schema["properties"][SWEEP] = sweep();
        schema["anyOf"] = json!([{"required": schema["required"]}, {"required": [EXTENDS]}]);
        schema.as_object_mut().map(|entries| entries.remove("required"));
        schema
    });
    &SCHEMA
}

/// What may stand beside a spec.
fn sweep() -> Value {
    let lists = json!({"type": "object", "additionalProperties": {"type": "array", "minItems": 1}});
    let points = json!({"type": "array", "items": {"type": "object"}});
    let random = json!({
        "type": "object",
        "properties": {
            "count": {"type": "integer", "minimum": 1, "maximum": sweep::MOST},
            "seed": {"type": "integer", "minimum": 0},
            "of": {"type": "object"},
        },
        "required": ["count", "of"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "description": sweep::ABOUT,
        "properties": {"grid": lists, "zip": lists, "list": points, "random": random, "without": points},
        "additionalProperties": false,
    })
}

/// The schema of a whole spec.
fn of_types() -> &'static Value {
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
    static SPEC: LazyLock<ValueKind> = LazyLock::new(|| ValueKind::of(of_types()));
    &SPEC
}
