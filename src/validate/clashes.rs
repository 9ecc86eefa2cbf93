//! Objects of the source that share a name, which no destination can hold. Pure.

use crate::mongo::{
    Namespace,
    catalog::{Catalog, Kind},
};
use std::collections::HashSet;

/// Two objects of one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The name that users see.
    name: Namespace,
    what: &'static str,
}

impl Clash {
    /// One line that names it.
    pub fn text(&self) -> String {
        format!("{}: {}", self.name, self.what)
    }

    /// Gives the collection another name; tried on both kinds.
    pub fn command(&self) -> String {
        let name = self.name.to_string();
        format!("db.adminCommand({{ renameCollection: {name:?}, to: {:?} }})", format!("{name}_collection"))
    }
}

/// 4.4 makes a view and a collection of one name when two clients ask at the same moment; a time series whose view was
/// refused leaves its buckets, and a collection may get the name.
pub(super) fn clashes(catalog: &Catalog) -> Vec<Clash> {
    let entries = || catalog.databases.iter().flat_map(|database| &database.entries);
    let of_kind = |kind| entries().filter(move |entry| entry.kind == kind).map(|entry| &entry.namespace);
    let (views, buckets): (HashSet<_>, HashSet<_>) = (of_kind(Kind::View).collect(), of_kind(Kind::Buckets).collect());
    let clash = |name: &Namespace| {
        let storage = Namespace::new(&name.db, format!("system.buckets.{}", name.coll));
        let what = if views.contains(name) {
            "a collection and a view have this name"
        } else if buckets.contains(&storage) {
            "a collection has this name, and the buckets of a time series of this name are there too"
        } else {
            return None;
        };
        Some(Clash { name: name.clone(), what })
    };
    of_kind(Kind::Collection).filter_map(clash).collect()
}
