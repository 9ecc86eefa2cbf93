//! What is not carried.
