//! Documents that the applier touched since verification last looked at them.

use bson::Uuid;

/// Shared between the applier (touches) and verification (drains). Bounded: see [`DirtySet::touch`].
#[derive(Debug, Default)]
pub struct DirtySet {}

impl DirtySet {
    /// Notes that the document with this `_id` (raw BSON element value: type byte, then value bytes) was written.
    pub fn touch(&self, _collection: Uuid, _id: &[u8]) {}
}
