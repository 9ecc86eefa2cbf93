//! Random commands while the catalog is read.
