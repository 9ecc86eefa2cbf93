//! The checks, one file each, in fixed order, each with evidence and an exact fix. Writes nothing but an empty temporary collection.
