//! What is said of a figure wherever it stands: its name, its unit, and which way is better.

use super::super::estimate::Estimate;
use serde::Serialize;

/// The unit of shares, which are written as percentages.
pub const SHARE: &str = "share";

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// Neither: it says how things are.
    Neither,
}

/// A figure's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// In files and expectations.
    pub key: &'static str,
    /// For people.
    pub title: &'static str,
    /// Empty where it has none.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
}

/// A figure as a row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultRow {
    /// Where it stands in the results, as expectations write it.
    pub path: String,
    /// What it is called.
    pub title: String,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// The figure.
    pub estimate: Estimate,
}

impl ResultRow {
    /// The row of a quantity.
    pub fn of(quantity: &Quantity, estimate: Estimate) -> ResultRow {
        let Quantity { key, title, unit, better } = *quantity;
        ResultRow { path: key.to_owned(), title: title.to_owned(), unit, better, estimate }
    }

    /// The row of a share, of which more is better.
    pub fn share(key: impl Into<String>, title: impl Into<String>, estimate: Estimate) -> ResultRow {
        ResultRow { path: key.into(), title: title.into(), unit: SHARE, better: Better::Higher, estimate }
    }

    /// The same below a heading.
    pub fn below(self, heading: &str) -> ResultRow {
        ResultRow { title: format!("{heading} · {}", self.title), ..self }
    }

    /// The same in the object at `key`.
    pub fn within(self, key: &str) -> ResultRow {
        ResultRow { path: format!("{key}.{}", self.path), ..self }
    }
}

/// A key as words.
pub(crate) fn words(key: &str) -> String {
    key.replace('_', " ")
}

/// Figures that are measured together: a struct of them, each defined where it is declared.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $title:literal, $unit:expr, $better:ident;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$about])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<Estimate>,)+
        }

        impl $name {
            /// What is said of each, in order.
            pub const QUANTITIES: &'static [Quantity] = &[$(Quantity {
                key: stringify!($field), title: $title, unit: $unit, better: Better::$better,
            }),+];

            /// Those that were measured.
            pub fn figures(&self) -> impl Iterator<Item = (&'static Quantity, Estimate)> {
                Self::QUANTITIES.iter().zip([$(self.$field),+]).filter_map(|(quantity, figure)| Some((quantity, figure?)))
            }

            /// All of them as `estimate`.
            pub fn all(estimate: Estimate) -> Self {
                $name { $($field: Some(estimate)),+ }
            }
        }
    };
}
pub(super) use figures;
